-- Paths that are not there, and from which pages people came to them.
-- $limit [10]: rows at most
SELECT path,
       coalesce(referrer, 'none') AS from_page,
       count(*) AS requests
FROM web_logs
WHERE status = 404
GROUP BY path, from_page
ORDER BY requests DESC, path, from_page
LIMIT $limit
