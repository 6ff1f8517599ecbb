<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology|Labeling|MapTips|Fields|Forms" labelsEnabled="0">
  <renderer-v2 type="categorizedSymbol" attr="coalesce(&quot;decision&quot;, '')" enableorderby="0" forceraster="0" symbollevels="0">
    <categories>
      <category symbol="0" value="accept" label="accepted" render="true"/>
      <category symbol="1" value="move" label="moved" render="true"/>
      <category symbol="2" value="reject" label="rejected" render="true"/>
      <category symbol="3" value="unsure" label="unsure" render="true"/>
      <category symbol="4" value="" label="undecided" render="true"/>
    </categories>
    <symbols>
      <symbol name="0" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleMarker" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="name" type="QString" value="circle"/>
            <Option name="color" type="QString" value="22,163,74,255"/>
            <Option name="size" type="QString" value="3.6"/>
            <Option name="size_unit" type="QString" value="MM"/>
            <Option name="outline_color" type="QString" value="255,255,255,255"/>
            <Option name="outline_style" type="QString" value="solid"/>
            <Option name="outline_width" type="QString" value="0.6"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
          </Option>
        </layer>
      </symbol>
      <symbol name="1" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleMarker" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="name" type="QString" value="circle"/>
            <Option name="color" type="QString" value="37,99,235,255"/>
            <Option name="size" type="QString" value="3.6"/>
            <Option name="size_unit" type="QString" value="MM"/>
            <Option name="outline_color" type="QString" value="255,255,255,255"/>
            <Option name="outline_style" type="QString" value="solid"/>
            <Option name="outline_width" type="QString" value="0.6"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
          </Option>
        </layer>
      </symbol>
      <symbol name="2" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleMarker" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="name" type="QString" value="circle"/>
            <Option name="color" type="QString" value="220,38,38,255"/>
            <Option name="size" type="QString" value="3.6"/>
            <Option name="size_unit" type="QString" value="MM"/>
            <Option name="outline_color" type="QString" value="255,255,255,255"/>
            <Option name="outline_style" type="QString" value="solid"/>
            <Option name="outline_width" type="QString" value="0.6"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
          </Option>
        </layer>
      </symbol>
      <symbol name="3" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleMarker" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="name" type="QString" value="circle"/>
            <Option name="color" type="QString" value="107,114,128,255"/>
            <Option name="size" type="QString" value="3.6"/>
            <Option name="size_unit" type="QString" value="MM"/>
            <Option name="outline_color" type="QString" value="255,255,255,255"/>
            <Option name="outline_style" type="QString" value="solid"/>
            <Option name="outline_width" type="QString" value="0.6"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
          </Option>
        </layer>
      </symbol>
      <symbol name="4" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleMarker" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="name" type="QString" value="circle"/>
            <Option name="color" type="QString" value="245,158,11,255"/>
            <Option name="size" type="QString" value="3.6"/>
            <Option name="size_unit" type="QString" value="MM"/>
            <Option name="outline_color" type="QString" value="255,255,255,255"/>
            <Option name="outline_style" type="QString" value="solid"/>
            <Option name="outline_width" type="QString" value="0.6"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
          </Option>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <fieldConfiguration>
    <field name="decision">
      <editWidget type="ValueMap">
        <config>
          <Option type="Map">
            <Option name="map" type="List">
              <Option type="Map">
                <Option name="accept" type="QString" value="accept"/>
              </Option>
              <Option type="Map">
                <Option name="reject" type="QString" value="reject"/>
              </Option>
              <Option type="Map">
                <Option name="unsure" type="QString" value="unsure"/>
              </Option>
              <Option type="Map">
                <Option name="take back" type="QString" value="{2839923C-8B7D-419E-B84B-CA2FE9B80EC7}"/>
              </Option>
            </Option>
          </Option>
        </config>
      </editWidget>
    </field>
  </fieldConfiguration>
  <editable>
    <field name="id" editable="0"/>
    <field name="collection" editable="0"/>
    <field name="uri" editable="0"/>
    <field name="title" editable="0"/>
    <field name="author" editable="0"/>
    <field name="taken_at" editable="0"/>
    <field name="position_source" editable="0"/>
    <field name="localization_id" editable="0"/>
    <field name="place" editable="0"/>
    <field name="agreement" editable="0"/>
    <field name="radius_km_90" editable="0"/>
    <field name="probability_within_km" editable="0"/>
    <field name="confident" editable="0"/>
    <field name="low_information" editable="0"/>
    <field name="decision" editable="1"/>
    <field name="remark" editable="1"/>
  </editable>
  <blendMode>0</blendMode>
  <featureBlendMode>0</featureBlendMode>
  <layerOpacity>1</layerOpacity>
  <previewExpression>"uri"</previewExpression>
  <mapTip>&lt;img src="[% if("uri" LIKE '/%', 'file://' || "uri", if("uri" ILIKE 'http%://%', "uri", '')) %]" width="240"/&gt;&lt;br/&gt;&lt;b&gt;[% file_name("uri") %]&lt;/b&gt;&lt;br/&gt;[% coalesce("place", '') %]&lt;br/&gt;agreement [% format_number("agreement", 2) %], 90 % within [% format_number("radius_km_90", 1) %] km&lt;br/&gt;[% coalesce("decision", 'undecided: move the point, or fill in decision') %]&lt;br/&gt;&lt;a href="[% if("uri" LIKE '/%', 'file://' || "uri", if("uri" ILIKE 'http%://%', "uri", '')) %]"&gt;Open the photo&lt;/a&gt;</mapTip>
  <layerGeometryType>0</layerGeometryType>
</qgis>
