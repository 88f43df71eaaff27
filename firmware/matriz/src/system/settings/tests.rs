//! What becomes of settings that people write, right and wrong.

use super::*;
use certificates::band::Band;
use std::fs;

const GOOD: &str = "name = \"lisboa\"\nkey = \"key3\"\nurl = \"ws://192.168.1.10:5000/config\"\n";

/// A card and the box's folder.
struct World(tempfile::TempDir);

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("card")).unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        World(folder)
    }

    fn card(&self, name: &str, text: impl AsRef<[u8]>) -> &World {
        fs::write(self.0.path().join("card").join(name), text).unwrap();
        self
    }

    fn home(&self, name: &str) -> PathBuf {
        self.0.path().join("home").join(name)
    }

    /// The name of the box, and what it said.
    fn start(&self) -> (String, Vec<String>) {
        let choice = take_over(&self.0.path().join("card"), &self.0.path().join("home"));
        (choice.config.unwrap().name, choice.said)
    }
}

#[test]
fn the_shipped_settings_are_good() {
    let world = World::new();
    let (name, said) = world.card(NAME, TEMPLATE).start();
    assert_eq!((name.as_str(), said), ("matriz", vec![]));
}

#[test]
fn settings_from_any_computer_are_the_same() {
    let windows = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
    for (file, text) in [("matriz.toml", GOOD), ("MATRIZ.TOML", &windows), ("matriz.toml.txt", &windows)] {
        let world = World::new();
        assert_eq!(world.card(file, text).start(), ("lisboa".to_owned(), vec![]), "{file}");
        assert_eq!(fs::read_to_string(world.home(NAME)).unwrap(), GOOD, "{file}");
    }
}

#[test]
fn who_saves_under_the_longer_name_is_understood() {
    let world = World::new();
    world.card("matriz.toml", TEMPLATE).card("matriz.toml.txt", GOOD);
    assert_eq!(world.start(), ("lisboa".to_owned(), vec![]));
    world.card("matriz.toml", GOOD.replace("lisboa", "porto"));
    let (name, said) = world.start();
    assert_eq!(name, "porto");
    assert_eq!(said, ["there are both matriz.toml and matriz.toml.txt: the first is read; take one away"]);
}

#[test]
fn a_mistake_keeps_the_last_good_settings_and_says_its_line() {
    let world = World::new();
    world.card(NAME, GOOD).start();
    let wrong = format!("{GOOD}depth = \"deep\"\n");
    let (name, said) = world.card(NAME, wrong).start();
    assert_eq!(name, "lisboa");
    let line =
        "matriz.toml, line 4: \"depth\" must be \"tight\" or \"balanced\" or \"safe\", but it is \"deep\"";
    assert_eq!(said, [format!("{line}; the settings of before are used")]);
    assert_eq!(fs::read_to_string(world.home(NAME)).unwrap(), GOOD);
}

#[test]
fn without_good_settings_there_are_those_that_it_came_with() {
    for text in ["name = ", "", "\u{0}\u{1}"] {
        let world = World::new();
        let (name, said) = world.card(NAME, text).start();
        assert_eq!((name.as_str(), said.len()), ("matriz", 1), "{said:?}");
        assert!(said[0].ends_with("; the box starts with the settings that it came with"), "{said:?}");
    }
    let (name, said) = World::new().start();
    let lost = "matriz.toml is not on the card; the box starts with the settings that it came with";
    assert_eq!((name.as_str(), said), ("matriz", vec![lost.to_owned()]));
}

#[test]
fn a_spoiled_copy_is_no_last_good_one() {
    let world = World::new();
    fs::write(world.home(NAME), "name = ").unwrap();
    let (name, said) = world.card(NAME, b"\xff").start();
    assert_eq!(name, "matriz");
    let end =
        "it is no text; save it as plain text in UTF-8; the box starts with the settings that it came with";
    assert_eq!(said, [format!("matriz.toml: {end}")]);
}

/// Settings with `wss://` and the band's authority.
fn secure() -> String {
    format!("{}ca_crt = \"band.crt\"\n", GOOD.replace("ws://", "wss://"))
}

#[test]
fn files_of_wss_come_along_or_the_settings_are_wrong() {
    let authority = fs::read_to_string(Band::new("our band").authority()).unwrap();
    let world = World::new();
    world.card(NAME, GOOD).start();
    let (_, said) = world.card(NAME, secure()).start();
    assert!(said[0].starts_with("matriz.toml, line 4: band.crt: it cannot be read"), "{said:?}");
    assert!(said[0].ends_with("on the card beside matriz.toml; the settings of before are used"), "{said:?}");
    let windows = authority.replace('\n', "\r\n");
    assert_eq!(world.card("band.crt", windows).start().1, Vec::<String>::new());
    assert_eq!(fs::read_to_string(world.home("band.crt")).unwrap(), authority);
    assert_eq!(world.start().1, Vec::<String>::new(), "and again at the next start");

    let (_, said) = world.card(NAME, secure().replace("band.crt", "../band.crt")).start();
    assert!(said[0].contains("line 4: ../band.crt must be a file beside matriz.toml"), "{said:?}");
    let (_, said) = world.card(NAME, secure().replace("wss://", "ws://").replace("band", "none")).start();
    assert_eq!(said, Vec::<String>::new(), "ws:// looks at no files");
}

#[test]
fn files_that_are_no_certificates_replace_no_good_ones() {
    let band = Band::new("our band");
    let text = |file: &Path| fs::read_to_string(file).unwrap();
    let (authority, signed) =
        (text(&band.authority()), ["lisboa", "porto"].map(|name| band.sign(name, name)));
    let world = World::new();
    world.card(NAME, secure()).card("band.crt", &authority).start();
    let client = format!("{}client_crt = \"a.crt\"\n", secure());
    let pair = format!("{client}client_pem = \"a.pem\"\n");
    world.card("a.crt", text(&signed[0].0)).card("a.pem", text(&signed[1].1));
    let cases = [
        (
            &client,
            authority.as_str(),
            "5: \"client_crt\" needs \"client_pem\" beside it; name both files or neither",
        ),
        (&pair, authority.as_str(), "6: a.pem is not the key of the certificate in a.crt"),
        (&pair, "", "4: band.crt holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
    ];
    for (settings, band, expected) in cases {
        let (name, said) = world.card(NAME, settings).card("band.crt", band).start();
        assert_eq!(name, "lisboa");
        assert_eq!(said, [format!("matriz.toml, line {expected}; the settings of before are used")]);
        let kept: Vec<_> =
            fs::read_dir(world.home("")).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(kept.len(), 2, "the settings and the authority: {kept:?}");
        assert_eq!((text(&world.home(NAME)), text(&world.home("band.crt"))), (secure(), authority.clone()));
    }
    world.card("band.crt", &authority).card("a.pem", text(&signed[0].1));
    assert_eq!(world.start(), ("lisboa".to_owned(), vec![]));
}

#[test]
fn the_last_good_ones_are_good_only_with_their_files() {
    let world = World::new();
    world.card(NAME, secure()).card("band.crt", "");
    for kept in [None, Some("")] {
        if let Some(text) = kept {
            fs::write(world.home("band.crt"), text).unwrap();
        }
        fs::write(world.home(NAME), secure()).unwrap();
        let (name, said) = world.start();
        assert_eq!(name, "matriz", "{kept:?}");
        assert!(said[0].starts_with("matriz.toml, line 4: band.crt holds no certificate"), "{said:?}");
        assert!(said[0].ends_with("; the box starts with the settings that it came with"), "{said:?}");
    }
}

#[test]
fn a_port_that_the_service_may_not_open_is_a_mistake() {
    let world = World::new();
    for port in [443, 5353] {
        let (name, said) = world.card(NAME, format!("{GOOD}media_port = {port}\n")).start();
        assert_eq!(name, "matriz");
        let expected = format!(
            "matriz.toml, line 4: \"media_port\" cannot be {port} on a box; write a number from 1024"
        );
        assert!(said[0].starts_with(&expected), "{said:?}");
    }
    for port in [0, 1024] {
        assert_eq!(
            world.card(NAME, format!("{GOOD}media_port = {port}\n")).start(),
            ("lisboa".to_owned(), vec![])
        );
    }
}

#[test]
fn a_box_that_cannot_keep_anything_says_so() {
    let world = World::new();
    world.card(NAME, GOOD);
    let choice = take_over(&world.0.path().join("card"), &world.0.path().join("nowhere"));
    assert!(choice.config.is_none());
    assert!(choice.said[0].starts_with("matriz.toml cannot be kept ("), "{:?}", choice.said);
    assert!(choice.said[1].starts_with("there are no settings: "), "{:?}", choice.said);
}

#[test]
fn the_buttons_are_where_the_settings_say_or_where_they_always_are() {
    let world = World::new();
    let card = world.0.path().join("card");
    assert_eq!(panel(&card), Panel::default());
    world.card("matriz.toml", format!("{GOOD}[panel]\nvolume_up = 16\n"));
    assert_eq!(panel(&card), Panel { volume_up: 16, ..Panel::default() });
    world.card("matriz.toml", format!("{GOOD}[panel]\nvolume_up = \"left\"\n"));
    assert_eq!(panel(&card), Panel::default());
}
