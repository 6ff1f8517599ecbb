<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology|Labeling|MapTips" labelsEnabled="0">
  <renderer-v2 type="singleSymbol" enableorderby="0" forceraster="0" symbollevels="0">
    <symbols>
      <symbol name="0" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleMarker" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="name" type="QString" value="circle"/>
            <Option name="color" type="QString" value="13,148,136,190"/>
            <Option name="size" type="QString" value="2"/>
            <Option name="size_unit" type="QString" value="MM"/>
            <Option name="outline_color" type="QString" value="255,255,255,200"/>
            <Option name="outline_style" type="QString" value="solid"/>
            <Option name="outline_width" type="QString" value="0.2"/>
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
                  <Option name="expression" type="QString" value="coalesce(1.2 + 4 * sqrt(&quot;weight&quot;), 1.2)"/>
                  <Option name="type" type="int" value="3"/>
                </Option>
              </Option>
              <Option name="type" type="QString" value="collection"/>
            </Option>
          </data_defined_properties>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <blendMode>0</blendMode>
  <featureBlendMode>0</featureBlendMode>
  <layerOpacity>1</layerOpacity>
  <previewExpression>"neighbour"</previewExpression>
  <mapTip>&lt;img src="[% if("neighbour" LIKE '/%', 'file://' || "neighbour", if("neighbour" ILIKE 'http%://%', "neighbour", '')) %]" width="240"/&gt;&lt;br/&gt;&lt;b&gt;neighbour [% "rank" %]&lt;/b&gt; of [% file_name("photo") %]&lt;br/&gt;distance [% format_number("distance", 4) %], weight [% format_number("weight", 4) %]&lt;br/&gt;&lt;a href="[% if("neighbour" LIKE '/%', 'file://' || "neighbour", if("neighbour" ILIKE 'http%://%', "neighbour", '')) %]"&gt;Open the neighbour&lt;/a&gt;</mapTip>
  <layerGeometryType>0</layerGeometryType>
</qgis>
