-- Requests, addresses and bytes of each country; without GeoIP all of them are `unknown`.
-- $limit [20]: rows at most
SELECT coalesce(country, 'unknown') AS country,
       count(*) AS requests,
       count(DISTINCT ip) AS addresses,
       sum(bytes) AS bytes
FROM web_logs
GROUP BY 1
ORDER BY requests DESC, country
LIMIT $limit
