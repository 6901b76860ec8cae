//! What to do where a store got no credentials, or takes none of those that it got.
//!
//! Errors of stores go through many hands, so that what they say is all that is asked of them here.

use object_store::Error;

/// Whom a client asks that was told no credentials: the machine that it runs on.
const ASKED: [&str; 4] =
    ["169.254.169.254", "169.254.170.2", "metadata.google.internal", "/metadata/identity"];
/// How a refusal begins (`object_store::Error::PermissionDenied` and `Unauthenticated`).
const REFUSED: [&str; 2] = ["lacked the necessary privileges", "lacked valid authentication"];
/// What stores call a key that is none of theirs, or a signature that was made with another one.
const WRONG: [&str; 7] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    AZURE_WRONG,
];
/// What Azure says of a signature that was made with another key, whatever it calls that.
const AZURE_WRONG: &str = "Server failed to authenticate the request";

/// Those of them that stay wrong, while others are given out anew.
const STAYS_WRONG: [&str; 4] =
    ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", AZURE_WRONG];

/// Whether an error that says this stays until somebody sets a key, or another one: there is none,
/// or the store does not know it. A refusal of one that it knows may pass, as rights spread slowly.
pub fn lacks_key(said: &str) -> bool {
    ASKED.iter().chain(&STAYS_WRONG).any(|word| said.contains(word))
}

/// What to do about an error that says this; none where it is not about credentials.
pub fn credentials_hint(said: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&ASKED) {
        return Some(missing(said));
    }
    if says(&WRONG) {
        return Some(
            "the store does not take the key: look at `access_key` and `secret_key`, else at the \
             variables AWS_…, AZURE_… or GOOGLE_… that they come from, and at `endpoint`",
        );
    }
    says(&REFUSED).then_some(
        "the store knows who asks and refuses: give that key the right to read, write and list \
         there, or set `access_key` and `secret_key` to another (else AWS_…, AZURE_…, GOOGLE_…)",
    )
}

fn missing(said: &str) -> &'static str {
    if said.contains("MicrosoftAzure") {
        "no key is set, so that this machine was asked who it is: set `access_key` and \
         `secret_key`, or the variables AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, \
         AZURE_STORAGE_SAS_KEY or AZURE_STORAGE_CLIENT_ID and its like"
    } else if said.contains("GCS") {
        "no account is set, so that this machine was asked who it is: set `secret_key`, or the \
         variable GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT to the file of a key"
    } else {
        "no keys are set, so that this machine was asked who it is: set `access_key` and \
         `secret_key`, or the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; what stands \
         in `~/.aws` is not read"
    }
}

/// Whether a store does not take the credentials that it got, as somebody who may do nothing there
/// is refused, too.
pub(crate) fn are_wrong(error: &Error) -> bool {
    let is_refusal =
        matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
    let said = error.to_string();
    is_refusal && WRONG.iter().any(|word| said.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_without_credentials_or_with_wrong_ones_says_what_to_set() {
        let check = |said: &str, expect: &str| {
            assert!(credentials_hint(said).unwrap_or("nothing").contains(expect), "{said}");
        };
        let put = "Error performing PUT http://169.254.169.254/latest/api/token";
        check(&format!("Generic S3 error: {put}"), "AWS_ACCESS_KEY_ID");
        let get = "Error performing GET http://metadata.google.internal/";
        check(&format!("Generic GCS error: {get}"), "GOOGLE_APPLICATION_CREDENTIALS");
        let get = "GET http://169.254.169.254/metadata/identity/";
        check(&format!("Generic MicrosoftAzure error: {get}"), "AZURE_STORAGE_ACCOUNT_KEY");
        check("Generic S3 error: Error performing GET http://minio:9000/logs", "nothing");
        let lacked = "The operation lacked the necessary privileges to complete for path a";
        check(&format!("{lacked}: 403 Forbidden: InvalidAccessKeyId: none"), "not take the key");
        check(&format!("{lacked}: 403 Forbidden: AccessDenied: no"), "give that key the right");
        check("status 403 Forbidden of another system", "nothing");
    }

    #[test]
    fn a_key_that_is_missing_or_unknown_stays_so_and_a_right_may_come() {
        let lacked = "The operation lacked the necessary privileges to complete for path a";
        for (said, expect) in [
            ("Error performing PUT http://169.254.169.254/latest/api/token", true),
            ("403 Forbidden: <Code>InvalidAccessKeyId</Code>", true),
            ("403 Forbidden: <Code>SignatureDoesNotMatch</Code>", true),
            ("403: <Code>AuthenticationFailed</Code>", true),
            (
                "403: <Code>AuthorizationFailure</Code> Server failed to authenticate the request",
                true,
            ),
            ("403 Forbidden: <Code>AccessDenied</Code>", false),
            ("400: <Code>ExpiredToken</Code>", false),
            ("Error performing GET http://minio:9000/logs: connection refused", false),
        ] {
            assert_eq!(lacks_key(&format!("{lacked}: {said}")), expect, "{said}");
        }
    }

    #[test]
    fn only_a_key_that_is_none_is_wrong() {
        let denied = |source: &str| Error::PermissionDenied {
            path: "a".to_owned(),
            source: source.to_owned().into(),
        };
        assert!(are_wrong(&denied("403: <Code>SignatureDoesNotMatch</Code>")));
        assert!(!are_wrong(&denied("403: <Code>AccessDenied</Code>")));
    }
}
