<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology|Labeling|MapTips" labelsEnabled="0">
  <renderer-v2 type="singleSymbol" enableorderby="0" forceraster="0" symbollevels="0">
    <symbols>
      <symbol name="0" type="line" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleLine" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="line_color" type="QString" value="124,58,237,180"/>
            <Option name="line_width" type="QString" value="0.4"/>
            <Option name="line_width_unit" type="QString" value="MM"/>
            <Option name="line_style" type="QString" value="solid"/>
            <Option name="capstyle" type="QString" value="round"/>
            <Option name="joinstyle" type="QString" value="round"/>
          </Option>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <blendMode>0</blendMode>
  <featureBlendMode>0</featureBlendMode>
  <layerOpacity>1</layerOpacity>
  <previewExpression>"photo"</previewExpression>
  <mapTip>&lt;a href="[% if("photo" LIKE '/%', 'file://' || "photo", if("photo" ILIKE 'http%://%', "photo", '')) %]"&gt;[% file_name("photo") %]&lt;/a&gt;&lt;br/&gt;&lt;a href="[% if("other" LIKE '/%', 'file://' || "other", if("other" ILIKE 'http%://%', "other", '')) %]"&gt;[% file_name("other") %]&lt;/a&gt;&lt;br/&gt;[% format_number("apart_m", 0) %] m apart</mapTip>
  <layerGeometryType>1</layerGeometryType>
</qgis>
