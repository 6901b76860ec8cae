//! Addresses as servers and proxies write them, for whoever asks where one is or what it is in.
//!
//! An address of version 4 inside one of version 6 (`::ffff:192.0.2.1`) is that of version 4,
//! everywhere.

use std::net::{IpAddr, Ipv6Addr};

/// Reads `192.0.2.1` and `2001:db8::1`, and these with a port (`192.0.2.1:443`,
/// `[2001:db8::1]:443`, `::ffff:192.0.2.1:443`), in brackets, with a zone (`fe80::1%eth0`), or
/// between blanks. None for anything else: a name, a list, a socket.
pub fn read(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let text = text.trim();
    if let Some(text) = text.strip_prefix('[') {
        let (address, rest) = text.split_once(']')?;
        let has_only_a_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return version_6(address).filter(|_| has_only_a_port);
    }
    let without_port = text.rsplit_once(':').filter(|(address, port)| {
        // Without dots nobody can tell a port from the last group of version 6.
        address.contains('.') && is_port(port)
    });
    let address = without_port.map_or(text, |(address, _)| address);
    match address.contains(':') {
        true => version_6(address),
        false => address.parse().ok(),
    }
}

fn version_6(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _zone)| address);
    let address: Ipv6Addr = address.parse().ok()?;
    Some(IpAddr::V6(address).to_canonical())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn addresses_are_read_as_servers_write_them() {
        let check = |text: &str, expect: &str| {
            let address = read(text).map_or_else(|| "none".to_owned(), |it| it.to_string());
            assert_eq!(address, expect, "{text:?}");
        };
        for text in ["192.0.2.1", " 192.0.2.1 ", "192.0.2.1:443", "::ffff:192.0.2.1"] {
            check(text, "192.0.2.1");
        }
        for text in ["::ffff:c000:201", "[::ffff:192.0.2.1]:80", "::ffff:192.0.2.1:80"] {
            check(text, "192.0.2.1");
        }
        for text in ["2001:DB8::1", "[2001:db8::1]", "[2001:db8::1]:443", "2001:db8::1%eth0"] {
            check(text, "2001:db8::1");
        }
        check("[fe80::1%25eth0]:8080", "fe80::1");
        check("2001:db8::1:443", "2001:db8::1:443");
        for text in ["192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:+80", "192.0.2", "192.0.2.1%eth0"]
        {
            check(text, "none");
        }
        for text in ["[2001:db8::1", "[2001:db8::1]x", "[2001:db8::1]:", "[192.0.2.1]:80", "[]"] {
            check(text, "none");
        }
        for text in ["", "-", "unix:", "localhost:80", "192.0.2.1, 10.0.0.1", "a:b:c", "é:1"] {
            check(text, "none");
        }
    }
}
