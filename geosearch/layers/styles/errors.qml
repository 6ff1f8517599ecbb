<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology|Labeling|MapTips" labelsEnabled="0">
  <renderer-v2 type="graduatedSymbol" attr="error_km" graduatedMethod="GraduatedColor" enableorderby="0" forceraster="0" symbollevels="0">
    <ranges>
      <!-- each class -->
      <range lower="$lower" upper="$upper" symbol="$number" label="$label" render="true"/>
      <!-- end -->
    </ranges>
    <symbols>
      <!-- each class -->
      <symbol name="$number" type="line" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleLine" enabled="1" pass="0" locked="1">
          <Option type="Map">
            <Option name="line_color" type="QString" value="11,17,27,150"/>
            <Option name="line_width" type="QString" value="0.7"/>
            <Option name="line_width_unit" type="QString" value="MM"/>
            <Option name="line_style" type="QString" value="solid"/>
            <Option name="capstyle" type="QString" value="round"/>
            <Option name="joinstyle" type="QString" value="round"/>
          </Option>
        </layer>
        <layer class="SimpleLine" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="line_color" type="QString" value="$colour,255"/>
            <Option name="line_width" type="QString" value="0.4"/>
            <Option name="line_width_unit" type="QString" value="MM"/>
            <Option name="line_style" type="QString" value="solid"/>
            <Option name="capstyle" type="QString" value="round"/>
            <Option name="joinstyle" type="QString" value="round"/>
          </Option>
        </layer>
      </symbol>
      <!-- end -->
    </symbols>
  </renderer-v2>
  <blendMode>0</blendMode>
  <featureBlendMode>0</featureBlendMode>
  <layerOpacity>1</layerOpacity>
  <previewExpression>"photo"</previewExpression>
  <mapTip>&lt;b&gt;[% file_name("photo") %]&lt;/b&gt;&lt;br/&gt;error [% if("error_km" &lt; 1, format_number(1000 * "error_km", 0) || ' m', format_number("error_km", 1) || ' km') %]&lt;br/&gt;[% "method" %], agreement [% format_number("agreement", 2) %]&lt;br/&gt;&lt;a href="[% if("photo" LIKE '/%', 'file://' || "photo", if("photo" ILIKE 'http%://%', "photo", '')) %]"&gt;Open the photo&lt;/a&gt;</mapTip>
  <layerGeometryType>1</layerGeometryType>
</qgis>
