-- Who asks by itself, and how much of what bots ask that is.
-- $limit [10]: rows at most
SELECT ua_browser AS bot,
       count(*) AS requests,
       round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent_of_bots,
       count(*) FILTER (WHERE status >= 400) AS errors
FROM web_logs
WHERE ua_bot
GROUP BY ua_browser
ORDER BY requests DESC, bot
LIMIT $limit
