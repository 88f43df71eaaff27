//! Where a broadcast goes: server, mount, and the password that opens it.
//!
//! Comes before [`super::source`], which connects there. The configuration's judge asks here too what can
//! be a mount. The password never leaves this file but in the header that is sent: what displays a mount,
//! and every error, is without it.
//!
//! Source: RFC 3986 (URI), RFC 7617 (Basic authentication).

use data_encoding::BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;
use tokio_tungstenite::tungstenite::http::Uri;

/// What stands for a site's name in the address of all sites.
pub const NAME: &str = "{name}";

/// The port of an address that names none.
const USUAL_PORT: u16 = 80;

/// What of a name must be written as `%…` in a path: all but letters, digits and `-_.` (RFC 3986 section
/// 2.3).
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A place on an Icecast server that listeners can open.
#[derive(Clone)]
pub struct Mount {
    /// Name or address of the server; without the brackets that an IPv6 address has in an address line.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The mount, beginning with `/`.
    pub path: String,
    authorization: String,
}

impl Mount {
    /// Reads an address such as `http://source:hackme@icecast.example:8000/mix.opus`.
    ///
    /// # Errors
    /// What it lacks, in words that go after "it"; without the address, for the password is in it.
    pub fn new(url: &str) -> Result<Mount, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "is no address")?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("begins with https://, which broadcasts do not speak"),
            _ => return Err("does not begin with http://"),
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let Some((user, password)) = authority.rsplit_once('@').and_then(|(login, _)| login.split_once(':'))
        else {
            return Err("has no user and password before the host (write %40 for an @ in them, %3A for a :)");
        };
        let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']').to_owned();
        let plain = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let login = [plain(user), plain(password)].join(&b':');
        match uri.path() {
            _ if host.is_empty() => Err("has no host"),
            _ if password.is_empty() => Err("has no password"),
            "" | "/" => Err("has no mount after the host"),
            path => Ok(Mount {
                host,
                port: uri.port_u16().unwrap_or(USUAL_PORT),
                path: path.to_owned(),
                authorization: format!("Basic {}", BASE64.encode(&login)),
            }),
        }
    }

    /// The mount of one site: `{name}` of the address is its name.
    ///
    /// # Errors
    /// As [`Mount::new`], or if there is no `{name}` in the path: then all sites would have the same mount.
    pub fn of_site(url: &str, name: &str) -> Result<Mount, &'static str> {
        let of = |name: &str| Mount::new(&url.replace(NAME, name));
        match of("a")?.path == of("b")?.path {
            true => Err("has no {name} in its path"),
            false => of(&utf8_percent_encode(name, NOT_IN_PATH).to_string()),
        }
    }

    /// The value of the header `Authorization`: a secret.
    pub(super) fn authorization(&self) -> &str {
        &self.authorization
    }

    /// The server as it is named in sentences and in the header `Host`.
    pub fn server(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// What listeners open: without user and password.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.server(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> &'static str {
        Mount::new(url).err().unwrap_or_else(|| panic!("{url} must be refused"))
    }

    #[test]
    fn an_address_is_server_mount_and_password() {
        let mount = Mount::new("http://source:hackme@icecast.example:8000/mix.opus").unwrap();
        assert_eq!(
            (mount.host.as_str(), mount.port, mount.path.as_str()),
            ("icecast.example", 8_000, "/mix.opus")
        );
        // RFC 7617 section 2, with the example's own words.
        assert_eq!(mount.authorization(), format!("Basic {}", BASE64.encode(b"source:hackme")));
        assert_eq!(
            mount.to_string(),
            "http://icecast.example:8000/mix.opus",
            "what is shown has no password"
        );
        let mount = Mount::new("http://a:b@[::1]/x").unwrap();
        assert_eq!((mount.host.as_str(), mount.server().as_str()), ("::1", "[::1]:80"));
    }

    #[test]
    fn what_would_disturb_the_address_is_written_with_a_percent_sign() {
        // RFC 7617 section 2: Aladdin and his password.
        let mount = Mount::new("http://Aladdin:open%20sesame@a/b").unwrap();
        assert_eq!(mount.authorization(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let mount = Mount::new("http://source:p%40%3a@a/b").unwrap();
        assert_eq!(mount.authorization(), format!("Basic {}", BASE64.encode(b"source:p@:")));
    }

    #[test]
    fn what_is_no_mount_is_told_in_words() {
        assert_eq!(refused("icecast.example:8000"), "does not begin with http://");
        assert_eq!(refused("ftp://a:b@c/d"), "does not begin with http://");
        assert_eq!(refused("https://a:b@c/d"), "begins with https://, which broadcasts do not speak");
        assert_eq!(refused("http://icecast.example/mix"), refused("http://source@icecast.example/mix"));
        assert!(refused("http://icecast.example/mix").starts_with("has no user and password"));
        assert_eq!(refused("http://source:@icecast.example/mix"), "has no password");
        assert_eq!(refused("http://source:hackme@icecast.example"), "has no mount after the host");
        assert_eq!(refused("http://source:hackme@icecast.example:8000/"), "has no mount after the host");
        for none in ["", " ", "http://", "http:///mix", "http://a:b@/mix", "http://a b:c@d/e"] {
            assert!(Mount::new(none).is_err(), "{none}");
        }
    }

    #[test]
    fn each_site_has_a_mount_of_its_own() {
        let site = |url, name| Mount::of_site(url, name).map(|mount| mount.path);
        let url = "http://source:hackme@icecast.example:8000/{name}.opus";
        assert_eq!(site(url, "lisboa").as_deref(), Ok("/lisboa.opus"));
        assert_eq!(site(url, "\u{c9}vora 2.a-b_c").as_deref(), Ok("/%C3%89vora%202.a-b_c.opus"));
        for none in
            ["http://source:a@b/c.opus", "http://source:{name}@b/c.opus", "http://source:a@{name}/c.opus"]
        {
            assert_eq!(site(none, "lisboa"), Err("has no {name} in its path"), "{none}");
        }
    }
}
