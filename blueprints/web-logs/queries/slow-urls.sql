-- The paths that took longest, by the time that 95 of 100 requests stay below (milliseconds).
-- $limit [10]: rows at most
-- $requests [1]: only paths with so many requests with a response time
SELECT path,
       count(response_time_ms) AS requests,
       round(avg(response_time_ms), 1) AS average_ms,
       round(approx_percentile_cont(0.95) WITHIN GROUP (ORDER BY response_time_ms)) AS p95_ms,
       max(response_time_ms) AS slowest_ms
FROM web_logs
GROUP BY path
HAVING count(response_time_ms) >= $requests
ORDER BY p95_ms DESC, path
LIMIT $limit
