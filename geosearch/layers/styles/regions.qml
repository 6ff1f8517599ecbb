<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology|Labeling|MapTips" labelsEnabled="0">
  <!-- Filled for the answers that the project's variable geosearch_answers names, as 17,18, and for what
       is selected; without the variable where the layer is of a few answers. Of others there are
       outlines, near by: many would hide the map. -->
  <renderer-v2 type="RuleRenderer" enableorderby="1" forceraster="0" symbollevels="0">
    <rules key="regions">
      <rule key="chosen" label="shown answers" filter="is_selected() OR coalesce(array_contains(string_to_array(@geosearch_answers), to_string(&quot;localization_id&quot;)), layer_property(@layer_id, 'feature_count') &lt;= 10)">
        <rule key="chosen50" symbol="0" label="up to 50 %" filter="&quot;level&quot; &lt;= 0.5"/>
        <rule key="chosen90" symbol="1" label="over 50 %" filter="&quot;level&quot; &gt; 0.5"/>
      </rule>
      <rule key="others" label="other answers" filter="ELSE" scalemindenom="1" scalemaxdenom="15000000">
        <rule key="others50" symbol="2" label="up to 50 %" filter="&quot;level&quot; &lt;= 0.5"/>
        <rule key="others90" symbol="3" label="over 50 %" filter="&quot;level&quot; &gt; 0.5"/>
      </rule>
    </rules>
    <symbols>
      <symbol name="0" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="color" type="QString" value="255,140,40,80"/>
            <Option name="style" type="QString" value="solid"/>
            <Option name="outline_color" type="QString" value="200,90,10,255"/>
            <Option name="outline_style" type="QString" value="solid"/>
            <Option name="outline_width" type="QString" value="0.4"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
            <Option name="joinstyle" type="QString" value="bevel"/>
          </Option>
        </layer>
      </symbol>
      <symbol name="1" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="color" type="QString" value="255,180,84,45"/>
            <Option name="style" type="QString" value="solid"/>
            <Option name="outline_color" type="QString" value="220,130,40,255"/>
            <Option name="outline_style" type="QString" value="dash"/>
            <Option name="outline_width" type="QString" value="0.4"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
            <Option name="joinstyle" type="QString" value="bevel"/>
          </Option>
        </layer>
      </symbol>
      <symbol name="2" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="color" type="QString" value="0,0,0,0"/>
            <Option name="style" type="QString" value="no"/>
            <Option name="outline_color" type="QString" value="200,90,10,150"/>
            <Option name="outline_style" type="QString" value="solid"/>
            <Option name="outline_width" type="QString" value="0.2"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
            <Option name="joinstyle" type="QString" value="bevel"/>
          </Option>
        </layer>
      </symbol>
      <symbol name="3" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" pass="0" locked="0">
          <Option type="Map">
            <Option name="color" type="QString" value="0,0,0,0"/>
            <Option name="style" type="QString" value="no"/>
            <Option name="outline_color" type="QString" value="220,130,40,130"/>
            <Option name="outline_style" type="QString" value="dash"/>
            <Option name="outline_width" type="QString" value="0.2"/>
            <Option name="outline_width_unit" type="QString" value="MM"/>
            <Option name="joinstyle" type="QString" value="bevel"/>
          </Option>
        </layer>
      </symbol>
    </symbols>
    <orderby>
      <orderByClause asc="0" nullsFirst="0">"level"</orderByClause>
    </orderby>
  </renderer-v2>
  <blendMode>0</blendMode>
  <featureBlendMode>0</featureBlendMode>
  <layerOpacity>1</layerOpacity>
  <previewExpression>"photo"</previewExpression>
  <mapTip>&lt;b&gt;[% round(100 * "level") %] % region&lt;/b&gt;&lt;br/&gt;[% file_name("photo") %]&lt;br/&gt;[% format_number("area_km2", 0) %] km²</mapTip>
  <layerGeometryType>2</layerGeometryType>
</qgis>
