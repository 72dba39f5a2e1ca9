-- One row an element of the two highest levels (site, unit): how far the tags of all that lies in it are read.
SELECT
  u.element_webid,
  u.element_name,
  u.element_path,
  u.depth,
  u.database,
  COUNT(DISTINCT w.tag_webid) AS tags,
  MIN(w.high) AS all_read_up_to,
  MAX(w.last_event_timestamp) AS newest_event
FROM {asset_hierarchy} AS u
JOIN (
  SELECT tag_webid AS series_webid, * FROM {asset_attributes} WHERE tag_webid IS NOT NULL
  UNION ALL
  SELECT attribute_webid AS series_webid, * FROM {asset_attributes}
) AS a
  ON a.database = u.database
  AND (STARTSWITH(a.attribute_path, CONCAT(u.element_path, CHR(92))) OR STARTSWITH(a.attribute_path, CONCAT(u.element_path, '|')))
JOIN (
  SELECT tag_webid, MAX(COALESCE(ahead_from, high)) AS high, MAX(last_event_timestamp) AS last_event_timestamp
  FROM {watermarks}
  WHERE dataset = 'recorded' AND low < high
  GROUP BY tag_webid
) AS w ON w.tag_webid = a.series_webid
WHERE u.depth <= 1 AND u.deleted_at IS NULL AND a.deleted_at IS NULL
GROUP BY u.element_webid, u.element_name, u.element_path, u.depth, u.database
