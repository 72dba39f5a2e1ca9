-- One row a tag and an attribute that shows it: the newest event that is not ahead of now. Tags without an asset have one row.
SELECT
  n.tag_webid,
  n.tag_name,
  n.timestamp,
  n.value,
  n.value_string,
  n.value_kind,
  n.good,
  n.units,
  a.attribute_path,
  a.attribute_name,
  e.element_webid,
  e.element_path,
  e.template_name,
  e.database
FROM (
  SELECT
    s.*,
    ROW_NUMBER() OVER (PARTITION BY s.tag_webid ORDER BY s.timestamp DESC, s.sequence DESC) AS place
  FROM {timeseries} AS s
  WHERE s.timestamp <= CURRENT_TIMESTAMP()
) AS n
LEFT JOIN (
  SELECT tag_webid AS series_webid, * FROM {asset_attributes} WHERE tag_webid IS NOT NULL
  UNION ALL
  SELECT attribute_webid AS series_webid, * FROM {asset_attributes}
) AS a ON a.series_webid = n.tag_webid AND a.deleted_at IS NULL
LEFT JOIN {asset_hierarchy} AS e ON e.element_webid = a.element_webid AND e.deleted_at IS NULL
WHERE n.place = 1
