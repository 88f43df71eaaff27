//! What the file says, and what its mistakes are told as.

use super::*;

fn error(text: &str) -> String {
    Configuration::parse(text, Path::new("clients.json")).unwrap_err().to_string()
}

#[test]
fn the_seeds_file_is_read() {
    let text = r#"{
      "client_keys": [
        {"name": "porto", "key": "key1"},
        {"name": "montemor", "key": "key2"}
      ],
      "monitor_key": {"name": "monitor", "key": "monitorkey"}
    }"#;
    for text in [text.to_owned(), format!("\u{feff}{text}")] {
        let read = Configuration::parse(&text, Path::new("clients.json")).unwrap();
        let pairs: Vec<_> = read.clients.iter().map(|c| (c.name.as_str(), c.key.as_str())).collect();
        assert_eq!(pairs, [("porto", "key1"), ("montemor", "key2")]);
        assert_eq!(read.monitor.unwrap().key, "monitorkey");
    }
}

#[test]
fn a_missing_file_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let error = Configuration::read(&folder.path().join("none.json")).unwrap_err().to_string();
    assert!(error.contains("none.json does not exist: write one like {"), "{error}");
    let error = Configuration::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn wrong_json_is_shown_with_its_place() {
    let text = "{\n  \"client_keys\": [\n    {\"name\": \"porto\" \"key\": \"key1\"}\n  ]\n}";
    let found = error(text);
    assert!(
        found.starts_with("clients.json:3:22: this is not JSON (expected \",\" or \"}\"): write it like"),
        "{found}"
    );
    assert!(error("").starts_with("clients.json:1:1: this is not JSON (EOF"), "{}", error(""));
    let found = error("[]");
    assert!(found.contains("expected an object with \"client_keys\""), "{found}");
    let found = error(r#"{"client_keys": [{"name": "porto"}]}"#);
    assert!(found.contains("missing field \"key\""), "{found}");
    let found = error(r#"{"client_keys": [{"name": "porto", "key": 5}]}"#);
    assert!(found.contains("invalid type: integer \"5\", expected a string"), "{found}");
    assert!(error(r#"{"client_keys": []}"#).starts_with("clients.json:1:3: \"client_keys\" is empty"));
}

#[test]
fn an_unknown_key_is_shown_with_its_place_and_the_nearest_one() {
    let found = error("{\n  \"client_key\": []\n}");
    assert_eq!(found, "clients.json:2:3: the key \"client_key\" is unknown: did you mean \"client_keys\"?");
    let found = error(r#"{"client_keys": [{"nome": "porto", "key": "key1"}]}"#);
    assert_eq!(found, "clients.json:1:19: the key \"nome\" is unknown: did you mean \"name\"?");
    let found = error("{\"zebra\": 1}");
    assert!(
        found.ends_with(
            "there are \"client_keys\", \"monitor_key\", \"server_crt\", \"server_pem\", \"ca_crt\" here"
        ),
        "{found}"
    );
}

#[test]
fn names_and_keys_that_are_there_twice_are_shown_with_their_place() {
    let two = |name: &str, key: &str| {
        error(&format!(
            "{{\"client_keys\": [\n {{\"name\": \"porto\", \"key\": \"secret\"}},\n {{\"name\": \"{name}\", \"key\": \"{key}\"}}\n]}}"
        ))
    };
    assert_eq!(
        two("porto", "key2"),
        "clients.json:3:12: the name \"porto\" is there twice: give each its own"
    );
    let found = two("lisboa", "secret");
    assert_eq!(found, "clients.json:3:29: \"lisboa\" has the same key as \"porto\": give each its own");
    assert_eq!(two("", "key2"), "clients.json:3:12: a name is empty: write one");
    assert!(two("refresh", "key2").contains("choose another"));
    let found = two("lis\\\"boa", "key2");
    assert!(found.starts_with("clients.json:3:12: a name has the character '\"'"), "{found}");
    let monitor = r#"{"client_keys": [{"name": "a", "key": "b"}], "monitor_key": {"name": "m", "key": "b"}}"#;
    assert!(error(monitor).contains("\"m\" has the same key as \"a\""), "{}", error(monitor));
}

#[test]
fn the_files_of_wss_are_relative_to_the_configuration_and_know_their_place() {
    let parse = |keys: &str| {
        let text = format!("{{\"client_keys\": [{{\"name\": \"a\", \"key\": \"b\"}}],\n{keys}}}");
        Configuration::parse(&text, Path::new("etc/clients.json"))
            .map(|read| read.tls)
            .map_err(|e| e.to_string())
    };
    let named = |path: &str, column| {
        let place = Place { file: "etc/clients.json".into(), line: 2, column };
        Named { path: path.into(), place }
    };
    let all = parse(r#""server_crt": "s.crt", "server_pem": "/s.pem", "ca_crt": "s.crt""#).unwrap().unwrap();
    let expected = TlsFiles {
        server_crt: named("etc/s.crt", 16),
        server_pem: named("/s.pem", 39),
        ca_crt: Some(named("etc/s.crt", 59)),
    };
    assert_eq!(all, expected);
    assert_eq!(parse(r#""server_crt": "s", "server_pem": "t", "ca_crt": """#).unwrap().unwrap().ca_crt, None);
    assert_eq!(parse(r#""server_crt": "", "server_pem": null"#), Ok(None));

    let alone = [
        (
            r#""server_crt": "s""#,
            "etc/clients.json:2:16: \"server_crt\" needs \"server_pem\" beside it: name both",
        ),
        (
            r#""server_pem": "s""#,
            "etc/clients.json:2:16: \"server_pem\" needs \"server_crt\" beside it: name both",
        ),
        (r#""ca_crt": "s""#, "etc/clients.json:2:12: \"ca_crt\" says whose certificates come in by wss://"),
        (r#""server_crt": 5"#, "etc/clients.json:2:15: invalid type: integer \"5\", expected a string"),
    ];
    for (keys, expected) in alone {
        let found = parse(keys).unwrap_err();
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn a_file_that_is_not_utf_8_is_shown_with_its_place() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), b"{\n  \"\xe9\"").unwrap();
    let found = Configuration::read(file.path()).unwrap_err().to_string();
    assert!(found.ends_with(":2:4: this character is not UTF-8: save the file as UTF-8"), "{found}");
}

#[test]
fn a_key_is_not_in_the_debug_text() {
    let client = Client { name: "porto".into(), key: "secret".into() };
    assert!(!format!("{client:?}").contains("secret"));
}
