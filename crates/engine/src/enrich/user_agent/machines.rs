//! Machines that do not say that they are: a kept list beside uap-core's rules.
//!
//! The list is data (`machines.txt`); compiled on first use, asked once per distinct user agent.

use std::sync::LazyLock;

use regex::RegexSet;

static LIST: &str = include_str!("machines.txt");

static MACHINES: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(patterns()).expect("a test compiles the list"));

/// Whether a user agent is one of the list.
pub fn is_listed(text: &str) -> bool {
    MACHINES.is_match(text)
}

/// One pattern a line; blank lines and comments are none.
fn patterns() -> impl Iterator<Item = &'static str> {
    LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const MACHINES: &[&str] = &[
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         HeadlessChrome/120.0.6099.109 Safari/537.36",
        "Mozilla/5.0 (Linux; Android 11; moto g power (2022)) AppleWebKit/537.36 (KHTML, like \
         Gecko) Chrome/119.0.0.0 Mobile Safari/537.36 Chrome-Lighthouse",
        "kube-probe/1.27",
        "GoogleHC/1.0",
        "ELB-HealthChecker/2.0",
        "Amazon-Route53-Health-Check-Service (ref 1; report http://amzn.to/1vsZADi)",
        "curl/8.5.0",
        "Wget/1.21.4",
        "python-requests/2.31.0",
        "Python/3.11 aiohttp/3.9.1",
        "Go-http-client/1.1",
        "Apache-HttpClient/4.5.14 (Java/17.0.9)",
        "Blackbox Exporter/0.24.0",
        "Uptime-Kuma/1.23.11",
        "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
        "Mozilla/5.0 zgrab/0.x",
        "masscan/1.3 (https://github.com/robertdavidgraham/masscan)",
        "ivre-masscan/1.3",
        "Mozilla/5.0 (compatible; Nmap Scripting Engine; https://nmap.org/book/nse.html)",
        "Nuclei - Open-source project (github.com/projectdiscovery/nuclei)",
        "Mozilla/5.0 (compatible; CensysInspect/1.1; +https://about.censys.io/)",
        "Expanse, a Palo Alto Networks company, searches across the global IPv4 space",
        "Mozilla/5.0 (compatible; InternetMeasurement/1.0; +https://internet-measurement.com/)",
        "Hello, World",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    ];

    const PEOPLE: &[&str] = &[
        "Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/99.0.4844.88 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 7.0; M bot 60 Build/NRD90M) AppleWebKit/537.36 (KHTML, like \
         Gecko) Chrome/67.0.3396.87 Mobile Safari/537.36",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like \
         Gecko) Version/17.1 Safari/605.1.15",
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
        "okhttp/4.12.0",
        "Dalvik/2.1.0 (Linux; U; Android 13; Pixel 7 Build/TQ3A.230805.001)",
        "MyApp/7 CFNetwork/1408.0.4 Darwin/22.5.0",
        "Lynx/2.8.9rel.1 libwww-FM/2.14",
        "Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15",
        "",
        "-",
    ];

    #[test]
    fn machines_that_do_not_say_so_are_known_and_people_stay_people() {
        MACHINES.iter().for_each(|text| assert!(is_listed(text), "{text}"));
        PEOPLE.iter().for_each(|text| assert!(!is_listed(text), "{text}"));
    }

    #[test]
    fn the_list_holds_no_pattern_twice_and_says_when_it_was_looked_at() {
        let mut seen = HashSet::new();
        for pattern in patterns() {
            assert!(seen.insert(pattern), "{pattern} stands twice");
            assert!(!RegexSet::new([pattern]).unwrap().is_match(""), "{pattern} matches nothing");
            assert_eq!(pattern, pattern.trim(), "blanks around {pattern:?}");
        }
        assert!(LIST.contains("As of 20"));
    }
}
