//! Which class of device a user agent stands for, from what uap-core found in it.

const MOBILE_DEVICES: &[&str] = &[
    "iPhone",
    "iPod",
    "Generic Smartphone",
    "Generic Feature Phone",
    "PlayStation Vita",
    "iOS-Device",
];

const MOBILE_BROWSERS: &[&str] = &[
    "IE Mobile",
    "Opera Mobile",
    "Opera Mini",
    "Chrome Mobile",
    "Chrome Mobile WebView",
    "Chrome Mobile iOS",
];

const MOBILE_SYSTEMS: &[&str] = &[
    "Windows Phone",
    "Windows Phone OS",
    "Symbian OS",
    "Bada",
    "Windows CE",
    "Windows Mobile",
    "Maemo",
];

const MOBILE_TEXTS: &[&str] = &["J2ME", "MIDP", "iPhone;", "Googlebot-Mobile"];

const PLAYBOOKS: &[&str] = &["BlackBerry Playbook", "Blackberry Playbook"];

const TABLET_DEVICES: &[&str] =
    &["iPad", "Kindle", "Kindle Fire", "Kindle Fire HD", "Galaxy Tab", "Xoom", "Dell Streak"];

/// uap-core gives these as a family of their own or as a version, by the age of its rule.
const OLD_WINDOWS: &[&str] = &["95", "98", "ME"];

/// The families and versions that were found.
pub struct Seen<'a> {
    pub text: &'a str,
    pub browser: &'a str,
    pub os: &'a str,
    pub os_version: &'a str,
    pub device: &'a str,
}

impl Seen<'_> {
    /// `mobile`, `tablet`, `pc`, or nothing: the first that holds.
    pub fn class(&self) -> Option<&'static str> {
        if self.is_mobile() {
            Some("mobile")
        } else if self.is_tablet() {
            Some("tablet")
        } else if self.is_pc() {
            Some("pc")
        } else {
            None
        }
    }

    /// Whether it is no person's.
    pub fn is_bot(&self) -> bool {
        self.device == "Spider"
    }

    fn is_mobile(&self) -> bool {
        MOBILE_DEVICES.contains(&self.device)
            || MOBILE_BROWSERS.contains(&self.browser)
            || (matches!(self.os, "Android" | "Firefox OS") && !self.is_tablet())
            || (self.os == "BlackBerry OS" && !PLAYBOOKS.contains(&self.device))
            || MOBILE_SYSTEMS.contains(&self.os)
            || MOBILE_TEXTS.iter().any(|part| self.has(part))
            || (self.is_bot() && self.browser.contains("Mobile"))
            || (self.has("NokiaBrowser") && self.has("Mobile"))
    }

    fn is_tablet(&self) -> bool {
        TABLET_DEVICES.contains(&self.device)
            || PLAYBOOKS.contains(&self.device)
            || (self.os == "Android"
                && !self.has("Mobile Safari")
                && self.browser != "Firefox Mobile")
            || (self.os == "Windows" && self.os_version.starts_with("RT"))
            || (self.os == "Firefox OS" && !self.browser.contains("Mobile"))
    }

    fn is_pc(&self) -> bool {
        self.has("Windows NT")
            || self.is_old_windows()
            || self.os == "Solaris"
            || (self.os == "Mac OS X" && !self.has("Silk"))
            || (!self.has("Maemo")
                && (self.os == "Chrome OS" || (self.has("Linux") && self.has("X11"))))
    }

    fn is_old_windows(&self) -> bool {
        match self.os.strip_prefix("Windows") {
            Some("") => OLD_WINDOWS.contains(&self.os_version),
            Some(rest) => OLD_WINDOWS.contains(&rest.trim_start()),
            None => false,
        }
    }

    fn has(&self, part: &str) -> bool {
        self.text.contains(part)
    }
}
