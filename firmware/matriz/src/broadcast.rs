//! The box for an audience: the mix, and each site if wished, as streams on an Icecast server.
//!
//! Comes after [`crate::programs`], which encodes. A task per mount makes an Ogg Opus stream of the packets
//! ([`ogg_opus`]) and keeps a connection to the server ([`mount`], [`source`]). Music does not depend on
//! them: they may fail for hours, and nothing is heard of it in the session.
//!
//! Source: RFC 7845 (Ogg Opus) over Icecast's source protocol; docs/broadcast.md.

pub mod mount;
mod ogg_opus;
mod source;

use crate::config::Config;
use crate::programs::Programs;
use crate::rendezvous::backoff::{AFTER_REFUSAL, Backoff, random};
use mount::Mount;
use ogg_opus::OggOpus;
use proto::control::Status;
use source::{About, Source, Trouble};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// The programs that everybody is in, with this box and without it, and that of this box alone.
const SESSION: &str = "session";
const MIX: &str = "mix";
const OWN: &str = "stream";

/// What the programs of the others begin with; the name follows.
const PEERS: &str = "peers/";

/// How long the end of the streams may take when the box ends.
const GOODBYE: Duration = Duration::from_millis(500);

/// All broadcasts of a box.
pub struct Broadcast {
    config: Arc<Config>,
    programs: Programs,
    /// The title of each program that has a mount. When one is dropped, its stream ends.
    titles: BTreeMap<String, watch::Sender<String>>,
    mounts: JoinSet<()>,
}

impl Broadcast {
    /// Begins to broadcast as `config` says; `None` if it says nothing of it.
    pub fn start(config: &Config, programs: &Programs) -> Option<Broadcast> {
        let wish = config.broadcast.as_ref()?;
        let mut broadcast = Broadcast {
            config: Arc::new(config.clone()),
            programs: programs.clone(),
            titles: BTreeMap::new(),
            mounts: JoinSet::new(),
        };
        let mix = Mount::new(&wish.url);
        broadcast.open("broadcast.url", broadcast.all(), mix, stream_name(config), config.name.clone());
        Some(broadcast)
    }

    /// The program of all who play.
    fn all(&self) -> &'static str {
        if self.config.only_listens { MIX } else { SESSION }
    }

    /// Hears who plays: titles follow, and a site that is new gets its mount.
    pub fn hear(&mut self, status: &Status) {
        if let Some(title) = self.titles.get(self.all()) {
            let now = who_plays(status, !self.config.only_listens);
            title.send_if_modified(|title| {
                *title != now && {
                    *title = now;
                    true
                }
            });
        }
        let config = Arc::clone(&self.config);
        let Some(wish) = config.broadcast.as_ref() else { return };
        let Some(sites) = &wish.sites else { return };
        for program in self.programs.names() {
            let site = match program.strip_prefix(PEERS) {
                Some(name) => name,
                None if program == OWN && !config.only_listens => &config.name,
                None => continue,
            };
            if !self.titles.contains_key(&program) {
                let name = format!("{}: {site}", stream_name(&config));
                self.open("broadcast.sites", &program, Mount::of_site(sites, site), name, site.to_owned());
            }
        }
    }

    fn open(
        &mut self,
        key: &'static str,
        program: &str,
        mount: Result<Mount, &str>,
        name: String,
        title: String,
    ) {
        let wish = self.config.broadcast.as_ref();
        let (description, public) =
            wish.map_or((None, false), |wish| (wish.description.clone(), wish.public));
        let mount = mount.expect("the configuration's judge has read the address the same way");
        let (sender, title) = watch::channel(title);
        self.titles.insert(program.to_owned(), sender);
        let stream = Stream {
            config: Arc::clone(&self.config),
            key,
            programs: self.programs.clone(),
            program: program.to_owned(),
            mount,
            about: About { name, description, public },
            title,
            told: Told::default(),
        };
        self.mounts.spawn(stream.keep());
    }

    /// Ends all streams, within half a second.
    pub async fn leave(mut self) {
        self.titles.clear();
        // Who cannot say goodbye in time is cut off.
        let _ = timeout(GOODBYE, async { while self.mounts.join_next().await.is_some() {} }).await;
    }
}

/// What listeners see as the name of the mix.
fn stream_name(config: &Config) -> String {
    let name = config.broadcast.as_ref().and_then(|wish| wish.name.as_ref());
    name.unwrap_or(&config.name).clone()
}

/// Who plays, as a sentence would say it: `porto, lisboa and montemor`; this box first, if it plays `too`.
fn who_plays(status: &Status, too: bool) -> String {
    let this = too.then_some(status.name.as_str());
    let others = status.peers.iter().filter(|peer| peer.connected).map(|peer| peer.name.as_str());
    let names: Vec<&str> = this.into_iter().chain(others).collect();
    match names.split_last() {
        None => "nobody".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
    }
}

/// How a connection ended.
enum End {
    /// The box wants no stream any more.
    Over,
    Trouble(Trouble),
}

/// One program on its way to one mount.
struct Stream {
    config: Arc<Config>,
    /// The configuration's key that the mount is from.
    key: &'static str,
    programs: Programs,
    program: String,
    mount: Mount,
    about: About,
    title: watch::Receiver<String>,
    told: Told,
}

impl Stream {
    /// Connects, sends and waits, until the title's sender is dropped.
    async fn keep(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let mut title = self.title.clone();
            let connected = tokio::select! {
                connected = Source::connect(&self.mount, &self.about, self.key) => connected,
                () = dropped(&mut title) => return,
            };
            let end = match connected {
                Err(trouble) => End::Trouble(trouble),
                Ok(source) => {
                    self.told.on_air(&self.mount);
                    let since = Instant::now();
                    let end = self.send(source).await;
                    backoff.lasted(since.elapsed());
                    self.told.lasted(since.elapsed());
                    end
                }
            };
            let wait = match &end {
                End::Over => return,
                End::Trouble(Trouble::Away(_)) => backoff.next(random()),
                End::Trouble(Trouble::Refused(_)) => AFTER_REFUSAL,
            };
            if let End::Trouble(trouble) = end {
                self.told.trouble(self.sentence(trouble));
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = dropped(&mut title) => return,
            }
        }
    }

    fn sentence(&self, trouble: Trouble) -> String {
        match trouble {
            Trouble::Away(why) => format!("broadcast: {why}"),
            Trouble::Refused(why) => self.config.wrong(self.key, why).to_string(),
        }
    }

    /// Sends the program until the connection, or the wish for it, ends.
    async fn send(&mut self, mut source: Source) -> End {
        let Some(mut packets) = self.programs.listen(&self.program) else {
            return End::Trouble(Trouble::Away(format!("nothing is there for {} yet", self.mount)));
        };
        let mut ogg = OggOpus::new(random() as u32, self.title.borrow_and_update().clone());
        loop {
            tokio::select! {
                changed = self.title.changed() => match changed {
                    Ok(()) => ogg.retitle(self.title.borrow_and_update().clone()),
                    Err(_) => break,
                },
                packet = packets.recv() => match packet {
                    Ok(packet) => ogg.push(&packet.payload),
                    // The server was slow. What it has missed is gone; the stream goes on without it.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                },
                why = source.ended() => return End::Trouble(Trouble::Away(why)),
            }
            let bytes = ogg.take();
            if let Err(why) = source.send(&bytes).await {
                return End::Trouble(Trouble::Away(why));
            }
        }
        ogg.end();
        // Nobody is told when this fails: the box ends.
        let _ = source.send(&ogg.take()).await;
        End::Over
    }
}

/// Waits until the sender is dropped.
async fn dropped(title: &mut watch::Receiver<String>) {
    while title.changed().await.is_ok() {}
}

/// What of a mount's story was said, so that each part of it is said once.
#[derive(Default)]
struct Told {
    trouble: Option<String>,
    on_air: bool,
}

impl Told {
    fn on_air(&mut self, mount: &Mount) {
        if !std::mem::replace(&mut self.on_air, true) {
            tracing::info!("on the air: {mount}");
        }
    }

    /// A connection that lasted was a good one: what comes after it is said anew.
    fn lasted(&mut self, time: Duration) {
        if time >= crate::rendezvous::backoff::GOOD {
            self.trouble = None;
        }
    }

    fn trouble(&mut self, sentence: String) {
        if self.trouble.as_ref() != Some(&sentence) {
            tracing::warn!("{sentence}");
            self.trouble = Some(sentence);
            self.on_air = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::control::PeerStatus;

    #[test]
    fn the_title_names_who_plays() {
        let peer =
            |name: &str, connected| PeerStatus { name: name.to_owned(), connected, ..PeerStatus::default() };
        let mut status = Status { name: "porto".to_owned(), ..Status::default() };
        assert_eq!([who_plays(&status, true), who_plays(&status, false)], ["porto", "nobody"]);
        status.peers = vec![peer("evora", false), peer("lisboa", true)];
        assert_eq!([who_plays(&status, true), who_plays(&status, false)], ["porto and lisboa", "lisboa"]);
        status.peers.push(peer("montemor", true));
        assert_eq!(who_plays(&status, true), "porto, lisboa and montemor");
    }

    #[test]
    fn each_part_of_the_story_is_said_once() {
        let mut told = Told::default();
        let said = |told: &Told| (told.trouble.clone(), told.on_air);
        let mount = Mount::new("http://a:b@c/d").unwrap();
        told.trouble("away".to_owned());
        assert_eq!(said(&told), (Some("away".to_owned()), false));
        told.on_air(&mount);
        told.lasted(Duration::from_secs(1));
        told.trouble("away".to_owned());
        assert_eq!(
            said(&told),
            (Some("away".to_owned()), true),
            "a connection that broke at once is no news"
        );
        told.lasted(Duration::from_secs(30));
        assert_eq!(said(&told).0, None, "after a good one it is");
    }
}
