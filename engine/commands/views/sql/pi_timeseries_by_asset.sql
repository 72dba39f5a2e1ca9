-- One row an event and an attribute that shows it: the recorded events with the path of their asset.
SELECT
  s.timestamp,
  s.sequence,
  s.value,
  s.value_string,
  s.state_code,
  s.value_kind,
  s.good,
  s.units,
  s.tag_webid,
  s.tag_name,
  a.attribute_webid,
  a.attribute_name,
  a.attribute_path,
  e.element_webid,
  e.element_name,
  e.element_path,
  e.template_name,
  e.database,
  s.partition_date
FROM {timeseries} AS s
JOIN (
  SELECT tag_webid AS series_webid, * FROM {asset_attributes} WHERE tag_webid IS NOT NULL
  UNION ALL
  SELECT attribute_webid AS series_webid, * FROM {asset_attributes}
) AS a ON a.series_webid = s.tag_webid
JOIN {asset_hierarchy} AS e ON e.element_webid = a.element_webid
WHERE a.deleted_at IS NULL AND e.deleted_at IS NULL
