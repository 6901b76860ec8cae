//! Quotes and backslashes of the two configuration files.
//!
//! nginx: `ngx_conf_read_token` in `src/core/ngx_conf_file.c` of its source
//! (<https://github.com/nginx/nginx>); arguments of `log_format` follow one another without
//! anything between them. Apache: <https://httpd.apache.org/docs/2.4/configuring.html> and
//! `ap_getword_conf`.

/// An argument of a directive.
#[derive(Debug, PartialEq, Eq)]
pub struct Argument {
    /// Without its quotes and escapes.
    pub text: String,
    /// Whether it stood in quotes.
    pub quoted: bool,
}

/// What stands after the name of a directive; none where the text is not that directive.
pub fn arguments_of<'a>(text: &'a str, directive: &str) -> Option<&'a str> {
    let (name, rest) = text.split_at_checked(directive.len())?;
    let is_it = name.eq_ignore_ascii_case(directive);
    (is_it && rest.starts_with(|sign: char| sign.is_ascii_whitespace())).then_some(rest)
}

/// A form that is nothing but quoted text, as it is cut out of a configuration: its first piece,
/// which is all that Apache has, and all pieces joined as nginx joins them. Double quotes alone
/// may as well be the form's own, unless there are escaped ones within them.
pub fn joined(text: &str) -> Option<(String, String)> {
    let is_double = text.starts_with('"') && text.contains("\\\"");
    if !text.starts_with('\'') && !is_double {
        return None;
    }
    let (arguments, rest) = arguments(text)?;
    let (last, before) = arguments.split_last()?;
    // Apache's nickname stands after the form.
    let nickname = !last.quoted && !before.is_empty() && !last.text.contains(['%', '$']);
    let pieces = if nickname { before } else { &arguments };
    if !rest.trim().is_empty() || pieces.iter().any(|piece| !piece.quoted) {
        return None;
    }
    let all = pieces.iter().map(|piece| piece.text.as_str()).collect();
    Some((pieces.first()?.text.clone(), all))
}

/// The arguments up to the end or to a semicolon, and what stands after that; none where a quote
/// is never closed.
pub fn arguments(text: &str) -> Option<(Vec<Argument>, &str)> {
    let mut arguments = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        match rest.chars().next() {
            None => return Some((arguments, rest)),
            Some(';') => return Some((arguments, &rest[1..])),
            Some('#') => rest = rest.split_once('\n').map_or("", |(_, after)| after),
            // A line that goes on.
            Some('\\') if rest[1..].trim_start_matches('\r').starts_with('\n') => rest = &rest[1..],
            Some(quote @ ('"' | '\'')) => {
                let length = closing(&rest[1..], quote)?;
                let text = unescape(&rest[1..=length]);
                arguments.push(Argument { text, quoted: true });
                rest = &rest[length + 2..];
            }
            Some(_) => {
                let ends = |sign: char| sign.is_whitespace() || sign == ';';
                let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
                arguments.push(Argument { text: unescape(word), quoted: false });
                rest = after;
            }
        }
    }
}

/// Where the quote is closed, past those after a backslash.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, sign)| {
        let closes = sign == quote && !escaped;
        escaped = sign == '\\' && !escaped;
        closes.then_some(at)
    })
}

/// Undoes the backslashes of a configuration; one before any other sign stays.
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        let meant = match (sign, signs.peek()) {
            ('\\', Some(mark @ ('"' | '\'' | '\\'))) => Some(*mark),
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('n')) => Some('\n'),
            _ => None,
        };
        plain.push(meant.unwrap_or(sign));
        if meant.is_some() {
            signs.next();
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_end_at_blanks_and_lose_their_quotes() {
        let check = |text: &str, expect: &[&str], rest: &str| {
            let (found, after) = arguments(text).expect("every quote is closed");
            let found: Vec<_> = found.iter().map(|argument| argument.text.as_str()).collect();
            assert_eq!((found.as_slice(), after), (expect, rest), "{text}");
        };
        check("main '$a \"b\"'\n  ' $c' ; # x", &["main", "$a \"b\"", " $c"], " # x");
        check("\"a \\\"b\\\" \\\\ \\t\\x\" c", &["a \"b\" \\ \t\\x", "c"], "");
        check("a # comment; \n 'b;' \\\n c", &["a", "b;", "c"], "");
        assert_eq!(arguments("a 'b"), None);
    }

    #[test]
    fn a_form_in_quotes_alone_is_joined() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(joined(text).map(|(_, all)| all).as_deref(), expect, "{text}");
        };
        check("'$a ' '$b';", Some("$a $b"));
        check("\"$a \\\"$b\\\"\"", Some("$a \"$b\""));
        check("\"%h \\\"%r\\\"\" combined", Some("%h \"%r\""));
        check("\"$a\" \"$b\"", None);
        check("'$a' $b", None);
        check("$a '$b'", None);
    }
}
