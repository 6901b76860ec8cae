-- What one address asked for, the newest first.
-- $ip: the address
-- $limit [20]: rows at most
SELECT ts, method, endpoint, status, response_time_ms, user_agent
FROM web_logs
WHERE ip = $ip
ORDER BY ts DESC, endpoint
LIMIT $limit
