-- One row a tag and pipeline: how far it is read, and whether it fails.
SELECT
  w.pipeline,
  w.tag_webid,
  t.name AS tag_name,
  MIN(w.low) AS read_from,
  MAX(CASE WHEN w.low < w.high THEN COALESCE(w.ahead_from, w.high) END) AS read_up_to,
  MAX(w.last_event_timestamp) AS last_event_timestamp,
  MAX_BY(w.status, w.updated_at) AS status,
  MAX_BY(w.last_error, w.updated_at) AS last_error,
  MAX(w.updated_at) AS updated_at
FROM {watermarks} AS w
LEFT JOIN {tags} AS t ON t.tag_webid = w.tag_webid
WHERE w.dataset = 'recorded' AND t.deleted_at IS NULL
GROUP BY w.pipeline, w.tag_webid, t.name
