//! *Box*: the box itself, its name on top and three facts at a time below it.

use super::{BESIDE_BAR, ROW, View, draw_bar, draw_head};
use crate::letters::{TEXT, shorten, wrap};
use crate::picture::Picture;
use crate::verdict::short;
use proto::control::{Status, System};

/// Letters of a fact.
const LETTERS: usize = (BESIDE_BAR / TEXT.width) as usize;

/// Facts that are shown at once.
const SHOWN: usize = 3;

pub(super) fn draw(view: &View<'_>, picture: &mut Picture) {
    let facts = facts(view.status);
    let parts = facts.len().div_ceil(SHOWN);
    let part = view.turn % parts;
    draw_head(picture, &shorten(&view.status.name, LETTERS));
    for (n, fact) in (1..).zip(facts.iter().skip(part * SHOWN).take(SHOWN)) {
        TEXT.draw(picture, 1, n * ROW + 2, fact);
    }
    draw_bar(picture, part, parts);
}

/// What there is to say of the box, each fact a line; what belongs together stays together.
fn facts(status: &Status) -> Vec<String> {
    let machine = &status.machine;
    let connected = status.peers.iter().filter(|peer| peer.connected).count();
    let session = match status {
        Status { in_session: false, .. } => "left the session".to_owned(),
        Status { peers, .. } if peers.is_empty() => "nobody else here".to_owned(),
        Status { peers, .. } => format!("hears {connected} of {}", peers.len()),
    };
    let card = if machine.card.trim().is_empty() { "no sound card" } else { &machine.card };
    // Nobody should pull the plug unknowingly.
    let mut facts: Vec<String> = machine.update.iter().cloned().collect();
    facts.extend([machine.address.clone().unwrap_or_else(|| "no network".to_owned()), session]);
    facts.extend(
        machine
            .celsius
            .filter(|celsius| celsius.is_finite())
            .map(|celsius| format!("{celsius:.0} °C inside")),
    );
    fill_up(&mut facts);
    facts.extend(wrap(card, LETTERS));
    fill_up(&mut facts);
    facts.push(match machine.period {
        0 => "no cycle yet".to_owned(),
        frames => format!("cycle {} ms", short(frames as f32 / 48.0)),
    });
    facts.push(counted(machine.xruns, "xrun", "xruns"));
    facts.push(counted(status.overruns, "cycle late", "cycles late"));
    match &machine.system {
        Some(system) => facts.extend(self::system(system)),
        None => facts.push(format!("version {}", machine.version)),
    }
    facts
        .iter()
        .flat_map(|fact| if fact.is_empty() { vec![String::new()] } else { wrap(fact, LETTERS) })
        .collect()
}

/// The system on the card, and what there is to say of the other one. A part of the page begins with it.
fn system(system: &System) -> Vec<String> {
    let mut facts = vec![format!("{} in slot {}", system.version, system.slot)];
    for more in [&system.pending, &system.failed].into_iter().flatten() {
        let lines = wrap(more, LETTERS);
        if facts.len() % SHOWN + lines.len() > SHOWN {
            fill_up(&mut facts);
        }
        facts.extend(lines);
    }
    facts
}

fn counted(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// Leaves the rest of the part empty.
fn fill_up(facts: &mut Vec<String>) {
    while !facts.len().is_multiple_of(SHOWN) {
        facts.push(String::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::control::Machine;

    #[test]
    fn an_update_that_is_under_way_is_the_first_that_is_seen() {
        let machine = Machine { update: Some("installing 40 %".to_owned()), ..Machine::default() };
        let told = facts(&Status { machine, ..Status::default() });
        assert_eq!(told[..3], ["installing 40 %", "no network", "left the session"]);
        assert_eq!(facts(&Status::default())[0], "no network");
    }
}
