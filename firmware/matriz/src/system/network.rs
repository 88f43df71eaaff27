//! A fixed address from the settings, as systemd-networkd reads it; without one the router gives it by DHCP.
//!
//! Comes after `settings`, before the network starts. The file goes before the one in `overlays/` that asks
//! for DHCP, since its name is smaller (systemd.network(5)).

use super::{Root, text};
use crate::config::Network;

/// Where networkd looks for files that are made at the start.
const FILE: &str = "run/systemd/network/10-matriz.network";

/// Writes the file, or takes it away.
///
/// # Errors
/// It cannot be written.
pub fn set_up(root: &Root, network: Option<&Network>) -> std::io::Result<()> {
    let file = root.at(FILE);
    let Some(network) = network else {
        return match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    std::fs::create_dir_all(root.at("run/systemd/network"))?;
    text::replace(&file, unit(network).as_bytes(), false)
}

fn unit(network: &Network) -> String {
    let address = &network.address;
    let mut unit = format!(
        "# From [network] in matriz.toml.\n[Match]\nName=eth* en* usb*\n\n[Network]\nAddress={address}\n"
    );
    for (key, value) in [("Gateway", network.gateway), ("DNS", network.dns)] {
        if let Some(value) = value {
            unit += &format!("{key}={value}\n");
        }
    }
    unit + "MulticastDNS=yes\nLLMNR=no\nIPv6AcceptRA=yes\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_address_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        set_up(&root, None).unwrap();
        let network = Network {
            address: "192.168.1.20/24".to_owned(),
            gateway: Some("192.168.1.1".parse().unwrap()),
            dns: None,
        };
        set_up(&root, Some(&network)).unwrap();
        let unit = std::fs::read_to_string(root.at(FILE)).unwrap();
        assert!(
            unit.contains("\nAddress=192.168.1.20/24\nGateway=192.168.1.1\nMulticastDNS=yes\n"),
            "{unit}"
        );
        set_up(&root, None).unwrap();
        assert!(!root.at(FILE).exists());
    }
}
