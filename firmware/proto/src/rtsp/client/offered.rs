//! What a guest offers: the answer to DESCRIBE, read.
//!
//! Before it: a body in SDP. After it: SETUP of the one track that is Opus. Sources: RFC 8866 (SDP), RFC 2326
//! appendix C.1.1 (control addresses), RFC 7587 section 7 (Opus).

use rtsp_types::Url;
use sdp_types::{Media, RtpMap, Session};

/// Names of Opus in `a=rtpmap`: RFC 7587's, and that of GStreamer before it.
const OPUS: [&str; 2] = ["OPUS", "X-GST-OPUS-DRAFT-SPITTKA-00"];

/// Opus' clock is always this one (RFC 7587 section 4.1), in Hz.
const CLOCK: u32 = 48_000;

/// The stream of a guest.
#[derive(Debug, PartialEq, Eq)]
pub struct Offered {
    /// Payload type of its packets.
    pub payload_type: u8,
    /// The track: for SETUP.
    pub track: Url,
    /// Everything: for PLAY and what comes after.
    pub whole: Url,
}

impl Offered {
    /// Reads a description that was found at `base`.
    ///
    /// # Errors
    /// It cannot be read, or has no Opus: words that follow the guest's name.
    pub fn read(sdp: &[u8], base: &Url) -> Result<Offered, String> {
        let session = Session::parse(sdp).map_err(|_| "describes its stream in words that are no SDP")?;
        let found = session.medias.iter().find_map(|media| Some((media, opus(media)?)));
        let (media, payload_type) = found.ok_or("sends no Opus")?;
        let whole = locate(base, session.get_first_attribute_value("control").flatten())?;
        let track = locate(base, media.get_first_attribute_value("control").flatten())?;
        Ok(Offered { payload_type, track, whole })
    }
}

/// The payload type of Opus, if the track has it.
fn opus(media: &Media) -> Option<u8> {
    let is_opus = |map: &RtpMap| {
        let name = OPUS.iter().any(|name| map.encoding_name.eq_ignore_ascii_case(name));
        name && map.clock_rate == CLOCK && map.payload_type < 128
    };
    let maps = media.attributes_typed::<RtpMap>().filter_map(Result::ok);
    let audio = media.media == "audio";
    audio.then(|| maps.into_iter().find(is_opus)).flatten().map(|map| map.payload_type)
}

/// The address that an attribute `control` means: all of `base`, something below it, or another one.
fn locate(base: &Url, control: Option<&str>) -> Result<Url, String> {
    let control = control.map(str::trim).filter(|control| !control.is_empty() && *control != "*");
    let Some(control) = control else { return Ok(base.clone()) };
    let mut below = base.clone();
    if !below.path().ends_with('/') {
        below.set_path(&format!("{}/", below.path()));
    }
    let url = below.join(control).ok().filter(|url| url.scheme() == "rtsp");
    url.ok_or_else(|| "describes a track at an address that makes no sense".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What gst-rtsp-server 1.22 says of the original emitter's pipeline.
    const GSTREAMER: &str = "v=0\r\n\
        o=- 7526912386403262347 1 IN IP4 127.0.0.1\r\n\
        s=Session streamed with GStreamer\r\n\
        i=rtsp-server\r\n\
        t=0 0\r\n\
        a=tool:GStreamer\r\n\
        a=type:broadcast\r\n\
        a=control:*\r\n\
        a=range:npt=now-\r\n\
        m=audio 0 RTP/AVP 96\r\n\
        c=IN IP4 0.0.0.0\r\n\
        b=AS:64\r\n\
        a=rtpmap:96 OPUS/48000/2\r\n\
        a=fmtp:96 sprop-stereo=1\r\n\
        a=control:stream=0\r\n";

    fn base(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn read(sdp: &str, at: &str) -> Result<(u8, String, String), String> {
        let Offered { payload_type, track, whole } = Offered::read(sdp.as_bytes(), &base(at))?;
        Ok((payload_type, track.to_string(), whole.to_string()))
    }

    #[test]
    fn the_originals_description_names_its_track() {
        let (whole, track) = ("rtsp://192.0.2.1:8554/stream/", "rtsp://192.0.2.1:8554/stream/stream=0");
        assert_eq!(read(GSTREAMER, whole), Ok((96, track.into(), whole.into())));
        let without = "rtsp://192.0.2.1:8554/stream";
        assert_eq!(read(GSTREAMER, without), Ok((96, track.into(), without.into())));
    }

    #[test]
    fn any_dynamic_type_old_names_and_whole_addresses_will_do() {
        let old = GSTREAMER
            .replace("RTP/AVP 96", "RTP/AVP 111")
            .replace("rtpmap:96 OPUS/48000/2", "rtpmap:111 X-GST-OPUS-DRAFT-SPITTKA-00/48000")
            .replace("control:stream=0", "control:rtsp://192.0.2.1/stream/track1");
        let (payload_type, track, _) = read(&old, "rtsp://192.0.2.1/stream/").unwrap();
        assert_eq!((payload_type, track.as_str()), (111, "rtsp://192.0.2.1/stream/track1"));
    }

    #[test]
    fn what_cannot_be_heard_says_why() {
        let with = |from: &str, to: &str| read(&GSTREAMER.replace(from, to), "rtsp://192.0.2.1/stream/");
        for (from, to, why) in [
            ("v=0", "v=9", "no SDP"),
            ("OPUS/48000/2", "PCMU/8000", "sends no Opus"),
            ("OPUS/48000", "OPUS/8000", "sends no Opus"),
            ("m=audio", "m=video", "sends no Opus"),
            ("control:stream=0", "control:http://192.0.2.1/", "makes no sense"),
        ] {
            let error = with(from, to).unwrap_err();
            assert!(error.contains(why), "{to}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_descriptions_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0..GSTREAMER.len(),
            text in ".{0,20}",
        ) {
            let base = base("rtsp://192.0.2.1/stream/");
            let _ = Offered::read(&bytes, &base);
            let broken = [&GSTREAMER.as_bytes()[..at], text.as_bytes(), &GSTREAMER.as_bytes()[at..]].concat();
            let _ = Offered::read(&broken, &base);
        }
    }
}
