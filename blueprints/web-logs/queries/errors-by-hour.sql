-- Requests and errors of each hour that had an error.
-- $since [1970-01-01]: only from this time on (UTC)
SELECT date_trunc('hour', ts) AS hour,
       count(*) AS requests,
       count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS client_errors,
       count(*) FILTER (WHERE status >= 500) AS server_errors
FROM web_logs
WHERE ts >= $since
GROUP BY 1
HAVING count(*) FILTER (WHERE status >= 400) > 0
ORDER BY hour
