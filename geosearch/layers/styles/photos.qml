<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology|Labeling|MapTips|Temporal" labelsEnabled="0">
  <renderer-v2 type="pointCluster" tolerance="4" toleranceUnit="MM" enableorderby="0" forceraster="0" symbollevels="0">
    <renderer-v2 type="singleSymbol" enableorderby="0" forceraster="0" symbollevels="0">
      <symbols>
        <symbol name="0" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
          <!-- The view cone, 6 mm long. In a cluster $geometry is in the coordinates of the map. -->
          <layer class="GeometryGenerator" enabled="1" pass="0" locked="0">
            <Option type="Map">
              <Option name="SymbolType" type="QString" value="Fill"/>
              <Option name="geometryModifier" type="QString" value="with_variable('place', transform($geometry, @map_crs, 'EPSG:4326'), transform(buffer(wedge_buffer(transform(@place, 'EPSG:4326', 'EPSG:3857'), &quot;direction_deg&quot;, coalesce(&quot;field_of_view_deg&quot;, 10), @map_scale * 0.006 / cos(radians(y(@place)))), 0), 'EPSG:3857', 'EPSG:4326'))"/>
              <Option name="units" type="QString" value="MapUnit"/>
            </Option>
            <symbol name="@0@0" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
              <layer class="SimpleFill" enabled="1" pass="0" locked="0">
                <Option type="Map">
                  <Option name="style" type="QString" value="solid"/>
                  <Option name="color" type="QString" value="76,139,245,70"/>
                  <Option name="outline_style" type="QString" value="solid"/>
                  <Option name="outline_color" type="QString" value="76,139,245,160"/>
                  <Option name="outline_width" type="QString" value="0.2"/>
                  <Option name="outline_width_unit" type="QString" value="MM"/>
                </Option>
              </layer>
            </symbol>
          </layer>
          <layer class="SimpleMarker" enabled="1" pass="0" locked="0">
            <Option type="Map">
              <Option name="name" type="QString" value="circle"/>
              <Option name="color" type="QString" value="76,139,245,200"/>
              <Option name="size" type="QString" value="1.8"/>
              <Option name="size_unit" type="QString" value="MM"/>
              <Option name="outline_color" type="QString" value="255,255,255,160"/>
              <Option name="outline_style" type="QString" value="solid"/>
              <Option name="outline_width" type="QString" value="0.2"/>
              <Option name="outline_width_unit" type="QString" value="MM"/>
              <Option name="angle" type="QString" value="0"/>
              <Option name="scale_method" type="QString" value="diameter"/>
            </Option>
          </layer>
        </symbol>
      </symbols>
    </renderer-v2>
    <symbol name="centerSymbol" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
      <layer class="SimpleMarker" enabled="1" pass="0" locked="0">
        <Option type="Map">
          <Option name="name" type="QString" value="circle"/>
          <Option name="color" type="QString" value="37,91,165,225"/>
          <Option name="size" type="QString" value="4"/>
          <Option name="size_unit" type="QString" value="MM"/>
          <Option name="outline_color" type="QString" value="255,255,255,220"/>
          <Option name="outline_style" type="QString" value="solid"/>
          <Option name="outline_width" type="QString" value="0.3"/>
          <Option name="outline_width_unit" type="QString" value="MM"/>
          <Option name="angle" type="QString" value="0"/>
          <Option name="scale_method" type="QString" value="diameter"/>
        </Option>
        <data_defined_properties>
          <Option type="Map">
            <Option name="name" type="QString" value=""/>
            <Option name="properties" type="Map">
              <Option name="size" type="Map">
                <Option name="active" type="bool" value="true"/>
                <Option name="expression" type="QString" value="3 + length(to_string(@cluster_size))"/>
                <Option name="type" type="int" value="3"/>
              </Option>
            </Option>
            <Option name="type" type="QString" value="collection"/>
          </Option>
        </data_defined_properties>
      </layer>
      <layer class="FontMarker" enabled="1" pass="0" locked="0">
        <Option type="Map">
          <Option name="chr" type="QString" value="2"/>
          <Option name="color" type="QString" value="255,255,255,255"/>
          <Option name="font" type="QString" value="Sans Serif"/>
          <Option name="font_style" type="QString" value="Bold"/>
          <Option name="size" type="QString" value="2.4"/>
          <Option name="size_unit" type="QString" value="MM"/>
          <Option name="horizontal_anchor_point" type="QString" value="1"/>
          <Option name="vertical_anchor_point" type="QString" value="1"/>
          <Option name="angle" type="QString" value="0"/>
        </Option>
        <data_defined_properties>
          <Option type="Map">
            <Option name="name" type="QString" value=""/>
            <Option name="properties" type="Map">
              <Option name="char" type="Map">
                <Option name="active" type="bool" value="true"/>
                <Option name="expression" type="QString" value="@cluster_size"/>
                <Option name="type" type="int" value="3"/>
              </Option>
            </Option>
            <Option name="type" type="QString" value="collection"/>
          </Option>
        </data_defined_properties>
      </layer>
    </symbol>
  </renderer-v2>
  <temporal enabled="1" mode="1" startField="taken_at" endField="" durationField="" durationUnit="min" fixedDuration="0" accumulate="0" startExpression="" endExpression="">
    <fixedRange>
      <start></start>
      <end></end>
    </fixedRange>
  </temporal>
  <blendMode>0</blendMode>
  <featureBlendMode>0</featureBlendMode>
  <layerOpacity>1</layerOpacity>
  <previewExpression>coalesce("title", "uri")</previewExpression>
  <mapTip>&lt;img src="[% if("uri" LIKE '/%', 'file://' || "uri", if("uri" ILIKE 'http%://%', "uri", '')) %]" width="240"/&gt;&lt;br/&gt;&lt;b&gt;[% coalesce("title", "uri") %]&lt;/b&gt;&lt;br/&gt;[% concat_ws(' · ', "author", "licence", format_date("taken_at", 'yyyy-MM-dd')) %]&lt;br/&gt;&lt;a href="[% if("uri" LIKE '/%', 'file://' || "uri", if("uri" ILIKE 'http%://%', "uri", '')) %]"&gt;Open the photo&lt;/a&gt;</mapTip>
  <layerGeometryType>0</layerGeometryType>
</qgis>
