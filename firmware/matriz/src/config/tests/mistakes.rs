//! How mistakes in a configuration are told: file, line, key and what would be right.

use super::*;

#[test]
fn two_parts_of_the_panel_cannot_share_a_pin() {
    let told = refused(seed_and("\"panel\": {\"page\": 5}"));
    let expected = "client.json, line 10: \"mute\" and \"page\" are both on GPIO 5";
    assert!(told.starts_with(expected), "{told}");
    let told = refused(seed_and("\"panel\": {\"page\": 2}"));
    assert!(told.contains("\"page\" must be a number from 4 to 27, but it is 2"), "{told}");
}

#[test]
fn half_a_guest_is_none_and_is_told_with_its_line() {
    let config = seed_and("\"receive\": true, \"receive_from_ip\": \"192.0.2.1\"").unwrap();
    assert_eq!((config.guest(), config.half_a_guest()), ("192.0.2.1:8554".parse().ok(), None));
    for (line, key) in [
        ("\"receive\": true", "receive"),
        ("\"receive\": true, \"receive_from_port\": 8555", "receive"),
        ("\"receive_from_ip\": \"192.0.2.1\", \"receive_from_port\": 8555", "receive_from_ip"),
        ("\"receive_from_port\": 8555", "receive_from_port"),
    ] {
        let config = seed_and(line).unwrap();
        let told = config.half_a_guest().unwrap();
        assert_eq!(config.guest(), None);
        assert!(told.starts_with(&format!("client.json, line 10: \"{key}\" has no effect, as ")), "{told}");
    }
}

#[test]
fn a_later_mistake_can_name_the_line_of_its_key() {
    let config = json(SEED).unwrap();
    assert_eq!(
        config.wrong("port", "port 8554 is taken").to_string(),
        "client.json, line 6: port 8554 is taken"
    );
    assert_eq!(
        config.wrong("media_port", "taken").to_string(),
        "client.json: taken",
        "a default has no line"
    );
    let config = toml(&format!("{LEAST_TOML}\n[jack]\nserver = \"x\"")).unwrap();
    assert_eq!(config.wrong("jack.server", "none").to_string(), "matriz.toml, line 6: none");
}

#[test]
fn an_unknown_key_is_answered_with_the_one_that_was_meant() {
    assert_eq!(
        refused(json(&SEED.replace("\"name\"", "\"nmae\""))),
        "client.json, line 3: there is no key \"nmae\"; did you mean \"name\"?"
    );
    assert_eq!(
        refused(seed_and("\"media-port\": 1")),
        "client.json, line 10: there is no key \"media-port\"; did you mean \"media_port\"?"
    );
    let far = refused(seed_and("\"volume_of_all\": 1"));
    assert!(far.contains("there is no key \"volume_of_all\"; there are key, name, url, "), "{far}");
    assert_eq!(
        refused(toml(&format!("{LEAST_TOML}[simulated]\nperoid = 64"))),
        "matriz.toml, line 5: there is no key \"peroid\" in [simulated]; did you mean \"period\"?"
    );
}

#[test]
fn a_key_in_the_wrong_table_is_sent_home() {
    assert_eq!(
        refused(toml(&format!("{LEAST_TOML}[jack]\nport = 1"))),
        "matriz.toml, line 5: there is no key \"port\" in [jack]; \"port\" belongs above the first [table]"
    );
    assert_eq!(
        refused(seed_and("\"ppm\": 1")),
        "client.json, line 10: there is no key \"ppm\"; \"ppm\" belongs in \"simulated\""
    );
}

#[test]
fn a_value_that_cannot_be_is_answered_with_what_can() {
    let cases = [
        ("\"media_port\": \"abc\"", "\"media_port\" must be a number from 0 to 65535, but it is \"abc\""),
        ("\"media_port\": 70000", "\"media_port\" must be a number from 0 to 65535, but it is 70000"),
        ("\"media_port\": 80.5", "\"media_port\" must be a whole number from 0 to 65535, but it is 80.5"),
        ("\"sound\": \"alsa\"", "\"sound\" must be \"jack\" or \"simulated\", but it is \"alsa\""),
        ("\"channels\": 3", "\"channels\" must be a number from 1 to 2, but it is 3"),
        ("\"codec\": \"mp3\"", "\"codec\" must be \"opus\" or \"l16\" or \"l24\", but it is \"mp3\""),
        ("\"depth\": 5", "\"depth\" must be \"tight\" or \"balanced\" or \"safe\", but it is 5"),
        ("\"packet_ms\": 3", "\"packet_ms\" must be 2.5 or 5, but it is 3"),
        ("\"uplink\": 1", "\"uplink\" must be a number from 64 to 10000000, but it is 1"),
        ("\"bitrate\": 8", "\"bitrate\" must be a number from 16 to 256, but it is 8"),
        ("\"gain_db\": 20.5", "\"gain_db\" must be a number from -60 to 20, but it is 20.5"),
        ("\"record\": \"yes\"", "\"record\" must be true or false, without quotes, but it is \"yes\""),
        ("\"receive_from_ip\": \"x\"", "must be an address such as \"192.168.1.20\", but it is \"x\""),
        ("\"jack\": 1", "\"jack\" must be a table with keys of its own, but it is 1"),
        ("\"network\": {\"address\": \"10.0.0.8\"}", "such as \"192.168.1.20/24\", but it is \"10.0.0.8\""),
        ("\"network\": {\"address\": \"10.0.0.8/33\"}", "but it is \"10.0.0.8/33\""),
        ("\"network\": {\"dns\": \"10.0.0.1\"}", "\"network\"; docs/configuration.md says what it may be"),
        ("\"simulated\": {\"ppm\": 301}", "\"ppm\" must be a number from -300 to 300, but it is 301"),
        ("\"simulated\": {\"period\": 15}", "\"period\" must be a number from 16 to 2048, but it is 15"),
        ("\"simulated\": {\"input\": \"tone:a\"}", "or the path of a WAV file, but it is \"tone:a\""),
    ];
    for (line, answer) in cases {
        let told = refused(seed_and(line));
        assert!(told.starts_with("client.json, line 10: ") && told.ends_with(answer), "{line}: {told}");
    }
    assert_eq!(
        refused(json(&SEED.replace("8554", "\"abc\""))),
        "client.json, line 6: \"port\" must be a number from 1 to 65535, but it is \"abc\""
    );
    assert!(refused(json(&SEED.replace("8554", "0"))).contains("line 6: \"port\" must be"));
    let told = refused(toml(&format!("{LEAST_TOML}gain_db = inf")));
    assert_eq!(told, "matriz.toml, line 4: \"gain_db\" must be a number from -60 to 20, but it is \"inf\"");
}

#[test]
fn names_keys_and_addresses_are_those_that_the_wire_can_carry() {
    let long = "x".repeat(33);
    for bad in ["", " ", "a ", "a/b", "a\\\"b", "a\\\\b", "webclient", "a\\nb", &long] {
        let told = refused(json(&SEED.replace("\"porto\"", &format!("\"{bad}\""))));
        assert!(told.contains("line 3: \"name\" must be 1 to 32 letters, digits"), "{bad}: {told}");
    }
    for bad in ["\"\"", "\"top\\\\secret\"", "\"top\\\"secret\"", "1234"] {
        let told = refused(json(&SEED.replace("\"key1\"", bad)));
        assert!(told.contains("line 2: \"key\" must be a text in quotes"), "{bad}: {told}");
        assert!(!told.contains("secret") && !told.contains("1234"), "a secret is not shown: {told}");
    }
    for bad in ["http://localhost:5000/config", "localhost:5000", "localhost", "ws://", "ws:///config", ""] {
        let told = refused(json(&SEED.replace("ws://localhost:5000/config", bad)));
        assert!(told.contains("line 4: \"url\" must be an address"), "{bad}: {told}");
        assert!(told.contains("such as \"ws://localhost:5000/config\", but it is \""), "{bad}: {told}");
    }
}

#[test]
fn what_is_no_mount_is_told_without_its_password() {
    let broadcast = |inside: &str| refused(seed_and(&format!("\"broadcast\": {{{inside}}}")));
    let mount = "must be an address such as \"http://source:password@icecast.example:8000/mix.opus\", but it";
    for (url, lack) in [
        ("\"ftp://source:topsecret@icecast.example/mix\"", "does not begin with http://"),
        ("\"http://icecast.example:8000/mix\"", "has no user and password before the host"),
        ("\"http://source:topsecret@icecast.example\"", "has no mount after the host"),
        ("\"https://source:topsecret@icecast.example/mix\"", "begins with https://"),
        ("\"http://source:topsecret@icecast.example/a b\"", "is no address"),
        ("5", "is no text in quotes"),
    ] {
        let told = broadcast(&format!("\"url\": {url}"));
        assert!(told.starts_with(&format!("client.json, line 10: \"url\" {mount} {lack}")), "{url}: {told}");
        assert!(!told.contains("topsecret"), "{told}");
    }
    let url = "\"url\": \"http://source:topsecret@a/mix\"";
    let told = broadcast(&format!("{url}, \"sites\": \"http://source:topsecret@a/site\""));
    assert!(told.contains("8000/{name}.opus\", but it has no {name} in its path"), "{told}");
    assert!(!told.contains("topsecret"), "{told}");
    let told = broadcast(&format!("{url}, \"name\": \"a\\r\\nice-public: 1\""));
    assert!(told.contains("\"name\" must be a text in quotes, one line of at most 200 characters"), "{told}");
    let missing = "client.json, line 10: the key \"url\" is missing in \"broadcast\"; ";
    for inside in ["", "\"public\": true", "\"url\": \"\""] {
        let told = broadcast(inside);
        assert!(told.starts_with(missing), "{told}");
    }
    let told = broadcast(&format!("{url}, \"titel\": \"a\""));
    assert!(told.contains("there is no key \"titel\" in \"broadcast\"; "), "{told}");
}

#[test]
fn a_missing_key_is_named_with_a_line_to_add() {
    assert_eq!(
        refused(json("{}")),
        "client.json: the key \"name\" is missing; add a line such as \"name\": \"porto\","
    );
    assert_eq!(
        refused(toml("name = \"a\"\nkey = \"b\"")),
        "matriz.toml: the key \"url\" is missing; add a line such as url = \"ws://localhost:5000/config\""
    );
}

#[test]
fn json_that_is_none_is_told_in_plain_words() {
    let cases = [
        ("", "line 1: this is not JSON: the file is empty"),
        ("{\n\"name\": \"a\"\n\"key\"", "line 3, column 1: this is not JSON: a comma or } is missing"),
        (
            "{\n\"name\": \"a\",\n}",
            "line 3, column 1: this is not JSON: there is a comma after the last value",
        ),
        ("{\n\"name\" \"a\"", "line 2, column 8: this is not JSON: a colon is missing"),
        ("{\nname: 1}", "line 2, column 1: this is not JSON: a key must be in quotes"),
        ("{\"name\": \"a\n\"}", "line 1: this is not JSON: the closing quote of a text is missing"),
        ("{\"name\": porto}", "line 1, column 10: this is not JSON: a value must be a text in quotes"),
        ("{\"name\": \u{201c}a\u{201d}}", "this is not JSON: the quotes must be straight ones"),
        ("{\"a\": \"C:\\music\"}", "this is not JSON: a backslash in a text must be written twice"),
        ("{\"name\": \"a\"", "this is not JSON: it ends too early; is the last } missing?"),
        ("{} }", "this is not JSON: there is something after the last }"),
        ("name = \"a\"", "this is not JSON: it must begin with {; if it is TOML, give the file"),
        ("[]", "line 1: this must be keys and values in braces"),
    ];
    for (text, answer) in cases {
        let told = refused(json(text));
        assert!(told.starts_with("client.json, ") && told.contains(answer), "{text}: {told}");
    }
}

#[test]
fn toml_that_is_none_is_told_in_plain_words() {
    let cases = [
        ("name = porto", "matriz.toml, line 1, column 8: this is not TOML: a line must read key = value"),
        ("\nname : \"a\"", "matriz.toml, line 2, column "),
        ("{\"name\": \"a\"}", "this is not TOML: it is JSON; give the file a name that ends in .json"),
        ("name = \"a", "this is not TOML: a line must read key = value"),
        ("name = \u{201c}a\u{201d}", "this is not TOML: the quotes must be straight ones"),
        ("a = \"C:\\music\"", "this is not TOML: a backslash in a text must be written twice"),
        ("name = \"a\"\nname = \"b\"", "matriz.toml, line 2: \"name\" is written twice; take one away"),
    ];
    for (text, answer) in cases {
        let told = refused(toml(text));
        assert!(told.contains(answer) && !told.contains('\n'), "{text}: {told}");
    }
}

#[test]
fn a_key_that_is_written_twice_is_refused_in_json_too() {
    assert_eq!(
        refused(seed_and("\"port\": 8555")),
        "client.json, line 10: \"port\" is written twice, the first time in line 6; take one away"
    );
    let told =
        refused(seed_and("\"jack\": [{\"port\": 1}, {\"port\": {\"port\": 2}}, [{\"port\": \"\\\"x:\"}]]"));
    assert!(told.contains("\"jack\" must be a table"), "keys inside a list are not those outside: {told}");
    seed_and("\"jack\": {\"server\": \"port\"}, \"simulated\": {\"output\": \"port\"}").unwrap();
}

#[test]
fn the_first_mistake_in_the_file_is_told() {
    let told = refused(toml("zzzzzzzz = 1\nport = \"a\"\nname = 1"));
    assert!(told.starts_with("matriz.toml, line 1: "), "{told}");
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let told = |path: &Path| Config::read(path).unwrap_err().to_string();
    assert!(told(&folder.path().join("no.json")).contains("no.json cannot be read: there is no such file"));
    assert!(told(folder.path()).contains("it is a folder"));
    let latin = folder.path().join("client.json");
    std::fs::write(&latin, b"{\"name\": \"\xc9vora\"}").unwrap();
    assert!(told(&latin).contains("it is not UTF-8 text"));
}

#[test]
fn a_port_for_programs_needs_a_token_that_is_never_shown() {
    let said = refused(seed_and(r#""api": {"port": 8700}"#));
    assert!(said.starts_with("client.json, line 10: \"port\" needs a \"token\""), "{said}");
    let said = refused(seed_and(r#""api": {"port": 8700, "token": "short secret"}"#));
    assert!(said.contains("\"token\" must be 16 to 200 letters") && !said.contains("secret"), "{said}");
    let config =
        seed_and(r#""api": {"port": 8700, "token": "sixteen-letters-"}, "state_folder": "kept""#).unwrap();
    assert_eq!((config.api.port, config.state_folder), (Some(8700), Some(PathBuf::from("kept"))));
}

#[test]
fn a_name_that_is_given_later_is_judged_like_one_in_the_file() {
    assert_eq!(judge_name("Évora 2"), Ok(()));
    for name in ["", "a/b", " a", "webclient", &"a".repeat(33)] {
        let said = judge_name(name).unwrap_err();
        assert!(said.starts_with("the name must be 1 to 32 letters"), "{said}");
    }
}
