-- The pages that people asked for most; what asks by itself (bots) is left out.
-- $limit [10]: rows at most
-- $since [1970-01-01]: only from this time on (UTC)
SELECT path,
       count(*) AS requests,
       count(DISTINCT ip) AS addresses
FROM web_logs
WHERE ts >= $since AND ua_bot IS NOT TRUE AND status < 400
GROUP BY path
ORDER BY requests DESC, path
LIMIT $limit
