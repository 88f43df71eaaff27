//! Boxes meet and play by `wss://` at our rendezvous, each with a certificate of the band's authority; one
//! without is refused, is told why, and nobody else hears of it.
//!
//! Real processes with simulated cards, certificates made for the test.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use certificates::band::Band;
use common::player::{Player, Setup};
use common::process::Process;
use common::{Rendezvous, Stage};
use serde_json::{Value, json};

/// A rendezvous that serves TLS itself and asks for certificates.
fn rendezvous(stage: &Stage, band: &Band) -> Rendezvous {
    let (server_crt, server_pem) = band.sign("server", "127.0.0.1");
    let files = json!({"server_crt": server_crt, "server_pem": server_pem, "ca_crt": band.authority()});
    Rendezvous::start_with(stage, 0, &files)
}

/// A box of the band, which has no certificate yet.
fn member(stage: &Stage, band: &Band, name: &str, port: u16, hertz: u32) -> Setup {
    let mut setup = Setup::simulated(stage, name, port, 0.0, hertz);
    setup.config["url"] = json!(format!("wss://127.0.0.1:{port}/config"));
    setup.config["ca_crt"] = json!(band.authority());
    setup
}

fn show(setup: &mut Setup, band: &Band) {
    let (crt, pem) = band.sign(&setup.name, &setup.name);
    (setup.config["client_crt"], setup.config["client_pem"]) = (json!(crt), json!(pem));
}

#[test]
fn boxes_with_certificates_play_together_and_one_without_is_told() {
    let (stage, band, others) = (Stage::new(), Band::new("our band"), Band::new("others"));
    let rendezvous = rendezvous(&stage, &band);
    let start = |name: &str, hertz: u32, whose: Option<&Band>| {
        let mut setup = member(&stage, &band, name, rendezvous.port, hertz);
        whose.into_iter().for_each(|whose| show(&mut setup, whose));
        Player::start(&stage, &setup)
    };
    let mut porto = start("porto", 500, Some(&band));
    let mut lisboa = start("lisboa", 3_100, Some(&band));
    let mut montemor = start("montemor", 1_300, None);
    porto.wait_to_hear(&["lisboa"]);
    lisboa.wait_to_hear(&["porto"]);
    montemor.wait("why it is refused", |status| {
        status
            .rendezvous
            .contains("wants this box's certificate (CertificateRequired); name it as \"client_crt\"")
    });
    rendezvous.process.log.wait_for(&["refused: it shows no certificate"]);
    montemor.stop();

    let mut montemor = start("montemor", 1_300, Some(&others));
    montemor
        .wait("why it is refused", |status| status.rendezvous.contains("does not accept the certificate in"));
    rendezvous
        .process
        .log
        .wait_for(&["refused: its certificate is not signed by the authority in \"ca_crt\""]);
    montemor.stop();
    for (player, other) in [(&porto, "lisboa"), (&lisboa, "porto")] {
        let status = player.last();
        let names: Vec<&str> = status.peers.iter().map(|peer| peer.name.as_str()).collect();
        assert_eq!(names, [other], "montemor was never there");
        assert!(common::player::is_heard(&status, other));
    }
    // Who stops says goodbye, so the other must have been looked at before.
    porto.stop();
    lisboa.stop();
}

#[test]
fn a_box_that_speaks_ws_to_it_is_told_to_speak_wss() {
    let (stage, band) = (Stage::new(), Band::new("our band"));
    let rendezvous = rendezvous(&stage, &band);
    let mut porto = Player::start(&stage, &Setup::simulated(&stage, "porto", rendezvous.port, 0.0, 500));
    porto.wait("what to change", |status| {
        status.rendezvous.contains("answers 400 Bad Request")
            && status.rendezvous.contains("begin with wss://")
    });
    rendezvous.process.log.wait_for(&["refused: it does not speak TLS: let its \"url\" begin with wss://"]);
    porto.stop();
}

#[test]
fn on_a_system_without_authorities_a_box_runs_and_says_whom_it_does_not_believe() {
    let (stage, band) = (Stage::new(), Band::new("our band"));
    let rendezvous = rendezvous(&stage, &band);
    let mut setup = member(&stage, &band, "porto", rendezvous.port, 500);
    setup.config.as_object_mut().unwrap().remove("ca_crt");
    let mut porto = Player::start_with(&stage, &setup, |command| {
        command.env("SSL_CERT_FILE", stage.path("none.crt")).env("SSL_CERT_DIR", stage.path("none"));
    });
    porto.wait("whose certificate it is", |status| {
        status.rendezvous.contains("is not signed by an authority that this system knows")
            && status.cycles > 0
    });
    porto.process.log.wait_for(&["this system knows no certificate authority"]);
    porto.stop();
}

#[test]
fn a_monitor_watches_by_wss_with_its_certificate_and_is_told_without() {
    let (stage, band) = (Stage::new(), Band::new("our band"));
    let rendezvous = rendezvous(&stage, &band);
    let (crt, pem) = band.sign("monitor", "monitor");
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let url = format!("wss://127.0.0.1:{}/config", rendezvous.port);
    let (ca, crt, pem) = (text(&band.authority()), text(&crt), text(&pem));
    let arguments = ["monitor", &url, "monitorkey", "--json", "--ca-crt", &ca];
    let mut without = Process::start("monitor without a certificate", &mut stage.matriz(&arguments));
    without.log.wait_for(&["wants this box's certificate"]);
    without.out.wait_for(&["\"connected\":false", "wants this box's certificate"]);
    assert_eq!(without.terminate().code(), Some(0));

    let arguments = [&arguments[..], &["--client-crt", &crt, "--client-pem", &pem]].concat();
    let mut by_options = Process::start("monitor", &mut stage.matriz(&arguments));
    by_options.out.wait_for(&["\"connected\":true", "No clients connected"]);
    assert_eq!(by_options.terminate().code(), Some(0));

    let settings: Value = json!({
        "name": "monitor", "key": "monitorkey", "url": url, "ca_crt": ca, "client_crt": crt, "client_pem": pem,
    });
    stage.write("monitor.json", &settings.to_string());
    let mut by_file = Process::start("monitor", &mut stage.matriz(&["monitor", "monitor.json"]));
    by_file.out.wait_for(&["0 boxes at 127.0.0.1:", "No clients connected"]);
    assert_eq!(by_file.terminate().code(), Some(0));
}
