-- One row an event and an event frame that refers to an element with its tag: from the start of the frame to its end, or to now.
SELECT
  f.event_frame_webid,
  f.event_name,
  f.template_name,
  f.start_time,
  f.end_time,
  e.element_webid,
  a.attribute_name,
  a.attribute_path,
  s.tag_webid,
  s.tag_name,
  s.timestamp,
  s.sequence,
  s.value,
  s.value_string,
  s.value_kind,
  s.good,
  s.units
FROM {event_frames} AS f
JOIN {event_frame_elements} AS e ON e.event_frame_webid = f.event_frame_webid AND e.deleted_at IS NULL
JOIN (
  SELECT tag_webid AS series_webid, * FROM {asset_attributes} WHERE tag_webid IS NOT NULL
  UNION ALL
  SELECT attribute_webid AS series_webid, * FROM {asset_attributes}
) AS a ON a.element_webid = e.element_webid AND a.deleted_at IS NULL
JOIN {timeseries} AS s
  ON s.tag_webid = a.series_webid
  AND s.timestamp >= f.start_time
  AND s.timestamp <= COALESCE(f.end_time, CURRENT_TIMESTAMP())
WHERE f.deleted_at IS NULL
