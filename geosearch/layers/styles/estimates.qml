<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology|Labeling|MapTips|Temporal" labelsEnabled="1">
  <!-- How far off: by the error, or where the truth is not known by the distance of the calibration
       within which the answer is as probable as not. -->
  <renderer-v2 type="RuleRenderer" enableorderby="0" forceraster="0" symbollevels="0">
    <rules key="estimates">
      <!-- each class -->
      <rule key="$number" symbol="$number" label="$label off" filter="coalesce(&quot;error_km&quot;, &quot;probable_km&quot;, if(&quot;calibration_fits&quot; IS NOT NULL, 20100, NULL)) &gt; $lower AND coalesce(&quot;error_km&quot;, &quot;probable_km&quot;, if(&quot;calibration_fits&quot; IS NOT NULL, 20100, NULL)) &lt;= $upper"/>
      <!-- end -->
      <rule key="other" symbol="other" label="neither truth nor calibration" filter="ELSE"/>
    </rules>
    <symbols>
      <!-- each class -->
      <symbol name="$number" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleMarker" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="name" type="QString" value="circle"/>
            <Option name="color" type="QString" value="$colour,255"/>
            <Option name="size" type="QString" value="3.2"/>
            <Option name="size_unit" type="QString" value="MM"/>
            <Option name="outline_color" type="QString" value="11,17,27,255"/>
            <Option name="outline_style" type="QString" value="solid"/>
            <Option name="outline_width" type="QString" value="0.4"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
            <Option name="angle" type="QString" value="0"/>
            <Option name="scale_method" type="QString" value="diameter"/>
          </Option>
        </layer>
      </symbol>
      <!-- end -->
      <symbol name="other" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleMarker" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="name" type="QString" value="circle"/>
            <Option name="color" type="QString" value="255,180,84,255"/>
            <Option name="size" type="QString" value="3.2"/>
            <Option name="size_unit" type="QString" value="MM"/>
            <Option name="outline_color" type="QString" value="11,17,27,255"/>
            <Option name="outline_style" type="QString" value="solid"/>
            <Option name="outline_width" type="QString" value="0.4"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
            <Option name="angle" type="QString" value="0"/>
            <Option name="scale_method" type="QString" value="diameter"/>
          </Option>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <labeling type="simple">
    <settings calloutType="simple">
      <text-style fieldName="file_name(&quot;photo&quot;)" isExpression="1" fontFamily="Sans Serif" fontSize="9" fontWeight="75" fontSizeUnit="Point" textColor="30,36,48,255" textOpacity="1" namedStyle="Bold">
        <text-buffer bufferDraw="1" bufferSize="0.8" bufferSizeUnits="MM" bufferColor="255,255,255,255" bufferOpacity="1"/>
      </text-style>
      <placement placement="6" dist="2" distUnits="MM"/>
      <rendering drawLabels="1" obstacle="1" scaleVisibility="0"/>
    </settings>
  </labeling>
  <temporal enabled="1" mode="1" startField="created_at" endField="" durationField="" durationUnit="min" fixedDuration="0" accumulate="0" startExpression="" endExpression="">
    <fixedRange>
      <start></start>
      <end></end>
    </fixedRange>
  </temporal>
  <blendMode>0</blendMode>
  <featureBlendMode>0</featureBlendMode>
  <layerOpacity>1</layerOpacity>
  <previewExpression>"photo"</previewExpression>
  <mapTip>&lt;img src="[% if("photo" LIKE '/%', 'file://' || "photo", if("photo" ILIKE 'http%://%', "photo", '')) %]" width="240"/&gt;&lt;br/&gt;&lt;b&gt;[% file_name("photo") %]&lt;/b&gt;&lt;br/&gt;agreement [% format_number("agreement", 2) %] · half the density within [% if("radius_km_50" &lt; 1, format_number(1000 * "radius_km_50", 0) || ' m', format_number("radius_km_50", 0) || ' km') %], 90 % within [% if("radius_km_90" &lt; 1, format_number(1000 * "radius_km_90", 0) || ' m', format_number("radius_km_90", 0) || ' km') %]&lt;br/&gt;[% coalesce('error ' || format_number("error_km", 1) || ' km', 'probably within ' || "probable_km" || ' km', '') %]&lt;br/&gt;[% "method" %], [% "model" %]&lt;br/&gt;&lt;a href="[% if("photo" LIKE '/%', 'file://' || "photo", if("photo" ILIKE 'http%://%', "photo", '')) %]"&gt;Open the photo&lt;/a&gt;</mapTip>
  <layerGeometryType>0</layerGeometryType>
</qgis>
