//! The dashboard as one page that needs no server: scripts, styles and all answers are in it.

use serde_json::Value;

use crate::routes::assets;

/// What the page may load: nothing but itself.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data:";

/// The page with these answers, each under the path that the dashboard asks for; none where the
/// program was built without the dashboard.
pub fn page(title: &str, answers: &Value) -> Option<String> {
    let [script] = assets::of_kind(".js")[..] else { return None };
    let styles = assets::of_kind(".css").join("\n");
    let theme = assets::text("theme.js")?;
    // No text of a log can end the element that it stands in.
    let answers = answers.to_string().replace('<', "\\u003c");
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    Some(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>{styles}</style>\n<script>{theme}</script>\n</head>\n<body>\n\
         <div id=\"page\"></div>\n<noscript>This page needs JavaScript.</noscript>\n\
         <script type=\"application/json\" id=\"report\">{answers}</script>\n\
         <script type=\"module\">{}</script>\n</body>\n</html>\n",
        script.replace("</script", "<\\/script"),
    ))
}
