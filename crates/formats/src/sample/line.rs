//! One line of an access log.

use chrono::DateTime;

use super::agents::agents;
use super::random::Random;

/// 6 January 2025, a Monday.
const START_US: u64 = 1_736_121_600_000_000;

const SECOND_US: u64 = 1_000_000;

/// How busy each hour of a day is; the mean is 100.
const BUSY: [u64; 24] = [
    45, 35, 28, 25, 27, 36, 55, 82, 108, 125, 133, 136, 138, 140, 141, 139, 135, 132, 136, 142,
    140, 125, 104, 73,
];

/// Pages are drawn from 2^23, so that of some million lines about 30 % name a page of their own.
const PAGE_BITS: u64 = 23;
const VISITOR_BITS: u64 = 18;

const SECTIONS: [&str; 8] =
    ["products", "articles", "blog", "docs", "users", "search", "api/v1/items", "media"];
const WORDS: [&str; 16] = [
    "winter", "garden", "light", "stone", "river", "paper", "green", "ocean", "cotton", "silver",
    "maple", "copper", "velvet", "cedar", "linen", "amber",
];
const ASSETS: [&str; 8] = [
    "/",
    "/favicon.ico",
    "/robots.txt",
    "/static/css/main.5f3a91c2.css",
    "/static/js/app.81d2c07e.js",
    "/static/js/vendor.3b7702aa.js",
    "/images/logo.svg",
    "/feed/atom.xml",
];
const METHODS: [(u64, &str); 6] =
    [(900, "GET"), (75, "POST"), (14, "HEAD"), (5, "PUT"), (3, "DELETE"), (3, "OPTIONS")];
const PROTOCOLS: [(u64, &str); 3] = [(600, "HTTP/1.1"), (380, "HTTP/2.0"), (20, "HTTP/1.0")];
const STATUSES: [(u64, u64); 11] = [
    (880, 200),
    (12, 206),
    (18, 301),
    (12, 302),
    (36, 304),
    (4, 400),
    (5, 403),
    (26, 404),
    (4, 500),
    (2, 502),
    (1, 503),
];
const QUERIES: [&str; 6] =
    ["page=", "utm_source=newsletter&utm_campaign=", "sort=price&limit=", "ref=", "v=", "q=maple+"];
const REFERRERS: [(u64, &str); 6] = [
    (380, "-"),
    (200, "https://www.google.com/"),
    (40, "https://www.bing.com/"),
    (30, "https://news.ycombinator.com/"),
    (50, "https://duckduckgo.com/"),
    (300, "https://www.example.com/"),
];
const SCANS: [&str; 9] = [
    r"\x16\x03\x01\x00\xEE\x01\x00\x00\xEA\x03\x03",
    r"\x04\x01\x00P\xC6\xCE\x0Eu0\x00",
    "-",
    "quit",
    "SSH-2.0-Go",
    "GET /old",
    "PROPFIND / HTTP/1.1",
    "GET /../../etc/passwd HTTP/1.1",
    r"GET /?q=\x22%3E\x3Cscript\x3E&x=caf\xC3\xA9 HTTP/1.1",
];
const ODD_AGENTS: [&str; 3] =
    [r#"Mozilla/5.0 (compatible; \"Quoted\" Agent/1.0)"#, r"Agent\\Windows\x20(caf\xc3\xa9)", "-"];

/// Writes lines whose time rises.
pub struct Writer {
    now_us: u64,
    /// The second whose text `time` is.
    second: u64,
    time: String,
    agents: Vec<String>,
    response_time: bool,
}

impl Writer {
    /// A writer at the beginning of the week.
    pub fn new() -> Self {
        Self {
            now_us: START_US,
            second: 0,
            time: String::new(),
            agents: agents(),
            response_time: false,
        }
    }

    /// Adds a response time to every line.
    pub fn with_response_time(&mut self) {
        self.response_time = true;
    }

    /// Lets some time pass, by the hour of the day more or less than `gap_us`.
    pub fn advance(&mut self, gap_us: u64, random: &mut Random) {
        let hour = (self.now_us / (3_600 * SECOND_US)) % 24;
        self.now_us += random.below(2 * gap_us + 1) * 100 / BUSY[hour as usize];
    }

    /// Adds a line without its end. Gives the place of the quote after the user agent.
    pub fn write(&mut self, out: &mut Vec<u8>, random: &mut Random) -> usize {
        let visitor = Random::new(random.rank(VISITOR_BITS)).next();
        push_address(out, visitor);
        out.extend_from_slice(b" - ");
        if visitor.is_multiple_of(97) {
            push_word(out, random);
        } else {
            out.push(b'-');
        }
        self.push_time(out);
        let status = self.push_request(out, random);
        push_number(out, status);
        out.push(b' ');
        if matches!(status, 304 | 302) {
            out.push(b'-');
        } else {
            push_number(out, 150 + random.rank(18));
        }
        push_referrer(out, random);
        out.extend_from_slice(self.agent(visitor, random).as_bytes());
        let agent_end = out.len();
        out.push(b'"');
        if self.response_time {
            out.push(b' ');
            push_number(out, random.rank(12));
        }
        agent_end
    }

    fn push_time(&mut self, out: &mut Vec<u8>) {
        let second = self.now_us / SECOND_US;
        if second != self.second {
            self.second = second;
            let time = DateTime::from_timestamp(second.cast_signed(), 0).unwrap_or_default();
            self.time = time.format(" [%d/%b/%Y:%H:%M:%S +0000] \"").to_string();
        }
        out.extend_from_slice(self.time.as_bytes());
    }

    /// Adds a request with its closing quote; gives its status.
    fn push_request(&self, out: &mut Vec<u8>, random: &mut Random) -> u64 {
        if random.below(200) == 0 {
            out.extend_from_slice(random.one_of(&SCANS).as_bytes());
            out.extend_from_slice(b"\" ");
            return 400;
        }
        out.extend_from_slice(random.weighted(&METHODS, 1_000).as_bytes());
        out.push(b' ');
        push_target(out, random);
        out.push(b' ');
        out.extend_from_slice(random.weighted(&PROTOCOLS, 1_000).as_bytes());
        out.extend_from_slice(b"\" ");
        *random.weighted(&STATUSES, 1_000)
    }

    fn agent(&self, visitor: u64, random: &mut Random) -> &str {
        if random.below(400) == 0 {
            return random.one_of::<&str>(&ODD_AGENTS);
        }
        // Of two draws the lower one: the agents at the front are the frequent ones.
        let (one, other) = (visitor & 0xffff, (visitor >> 16) & 0xffff);
        let at = one.min(other) * self.agents.len() as u64 / 0x1_0000;
        &self.agents[at as usize]
    }
}

fn push_address(out: &mut Vec<u8>, visitor: u64) {
    let bytes = visitor.to_be_bytes();
    if visitor.is_multiple_of(20) {
        out.extend_from_slice(b"2001:db8");
        for pair in bytes.chunks_exact(2) {
            out.push(b':');
            push_hex(out, u16::from_be_bytes([pair[0], pair[1]]));
        }
        out.extend_from_slice(b"::1");
        return;
    }
    push_number(out, 11 + u64::from(bytes[0]) % 100);
    for byte in &bytes[1..4] {
        out.push(b'.');
        push_number(out, u64::from(*byte));
    }
}

fn push_target(out: &mut Vec<u8>, random: &mut Random) {
    if random.below(100) < 12 {
        out.extend_from_slice(random.one_of(&ASSETS).as_bytes());
        return;
    }
    push_page(out, random);
    if random.below(100) < 20 {
        out.push(b'?');
        out.extend_from_slice(random.one_of(&QUERIES).as_bytes());
        push_number(out, random.rank(16));
    }
}

/// A page whose section and name follow from its number.
fn push_page(out: &mut Vec<u8>, random: &mut Random) {
    let page = random.rank(PAGE_BITS);
    let mut names = Random::new(page);
    out.push(b'/');
    out.extend_from_slice(names.one_of(&SECTIONS).as_bytes());
    out.push(b'/');
    push_number(out, page);
    out.push(b'/');
    push_word(out, &mut names);
    out.push(b'-');
    push_word(out, &mut names);
}

fn push_referrer(out: &mut Vec<u8>, random: &mut Random) {
    let referrer = random.weighted(&REFERRERS, 1_000);
    out.extend_from_slice(b" \"");
    out.extend_from_slice(referrer.as_bytes());
    if referrer.ends_with("example.com/") {
        out.pop();
        push_page(out, random);
    }
    out.extend_from_slice(b"\" \"");
}

fn push_word(out: &mut Vec<u8>, random: &mut Random) {
    out.extend_from_slice(random.one_of(&WORDS).as_bytes());
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn push_hex(out: &mut Vec<u8>, number: u16) {
    let shifts = [12, 8, 4, 0].into_iter();
    let digits = shifts.map(|shift| b"0123456789abcdef"[usize::from((number >> shift) & 15)]);
    out.extend(digits.skip_while(|digit| *digit == b'0'));
    if number == 0 {
        out.push(b'0');
    }
}
