//! User agents as browsers, telephones, robots and programs write them.

/// Some hundred user agents; those at the front are the frequent ones.
pub fn agents() -> Vec<String> {
    let mut agents = Vec::new();
    for version in (118..136).rev() {
        agents.extend(chrome(version));
        agents.extend(firefox(version));
    }
    for (system, version) in [(18, 4), (18, 1), (17, 6), (17, 2), (16, 7), (15, 8)] {
        agents.push(format!(
            "Mozilla/5.0 (iPhone; CPU iPhone OS {system}_{version} like Mac OS X) \
             AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{system}.{version} Mobile/15E148 \
             Safari/604.1"
        ));
        agents.push(format!(
            "Mozilla/5.0 (iPad; CPU OS {system}_{version} like Mac OS X) AppleWebKit/605.1.15 \
             (KHTML, like Gecko) Version/{system}.{version} Mobile/15E148 Safari/604.1"
        ));
        agents.push(format!(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like \
             Gecko) Version/{system}.{version} Safari/605.1.15"
        ));
    }
    agents.extend(ROBOTS.map(str::to_owned));
    agents
}

fn chrome(version: u32) -> impl Iterator<Item = String> {
    const SYSTEMS: [&str; 7] = [
        "Windows NT 10.0; Win64; x64",
        "Macintosh; Intel Mac OS X 10_15_7",
        "X11; Linux x86_64",
        "Linux; Android 14; Pixel 8",
        "Linux; Android 13; SM-S911B",
        "Linux; Android 10; K",
        "X11; CrOS x86_64 14541.0.0",
    ];
    SYSTEMS.into_iter().map(move |system| {
        let mobile = if system.contains("Android") { " Mobile" } else { "" };
        format!(
            "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/{version}.0.0.0{mobile} Safari/537.36"
        )
    })
}

fn firefox(version: u32) -> impl Iterator<Item = String> {
    const SYSTEMS: [&str; 3] =
        ["Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10.15", "Android 14; Mobile"];
    SYSTEMS.into_iter().map(move |system| {
        format!("Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0")
    })
}

const ROBOTS: [&str; 12] = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)",
    "Mozilla/5.0 (compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/",
    "Tiny Tiny RSS/1.11 (http://tt-rss.org/)",
    "curl/8.5.0",
    "python-requests/2.31.0",
    "Go-http-client/1.1",
];
