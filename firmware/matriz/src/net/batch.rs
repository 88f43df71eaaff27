//! Many datagrams by one system call: `recvmmsg` and `sendmmsg`.
//!
//! Used by the network threads. With seven peers a cycle is two calls instead of fourteen. `nix` wraps both, but
//! makes its headers anew on the heap for each call or loses the kernel's stamps when they are used
//! again; so the calls are made here, with memory that stays.

use nix::sys::time::TimeSpec;
use std::io::Error;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

/// Datagrams in one call, at most.
const BATCH: usize = 32;

/// Largest datagram that is read; what is longer is no packet of ours, and is cut.
const LONGEST_DATAGRAM: usize = 2_048;

/// Room for the kernel's stamp and its header, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Ancillary([u8; 64]);

/// Whether to wait for datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Until one is there, as long as the socket's time limit allows.
    UntilOne,
    /// Not at all.
    Never,
}

/// Takes datagrams from the kernel.
pub struct Inbox {
    buffers: Box<[[u8; LONGEST_DATAGRAM]; BATCH]>,
    ancillary: Box<[Ancillary; BATCH]>,
}

impl Inbox {
    /// An empty one.
    pub fn new() -> Self {
        Inbox {
            buffers: Box::new([[0; LONGEST_DATAGRAM]; BATCH]),
            ancillary: Box::new([Ancillary([0; 64]); BATCH]),
        }
    }

    /// Hands what waits at `socket` to `handle`: bytes, sender, and when the kernel had it by the wall clock.
    ///
    /// # Errors
    /// What the kernel says; that nothing came ([`std::io::ErrorKind::WouldBlock`]) among others.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        sleep: Sleep,
        mut handle: impl FnMut(&[u8], SocketAddr, Option<TimeSpec>),
    ) -> Result<(), Error> {
        // SAFETY: plain C structures of integers and pointers, for which all zeros are valid.
        let (mut headers, mut slices, mut names) = unsafe {
            (
                zeroed::<[libc::mmsghdr; BATCH]>(),
                zeroed::<[libc::iovec; BATCH]>(),
                zeroed::<[libc::sockaddr_in; BATCH]>(),
            )
        };
        for (at, header) in headers.iter_mut().enumerate() {
            slices[at] = slice(&mut self.buffers[at]);
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut names[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = &raw mut slices[at];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.ancillary[at]).cast();
            header.msg_controllen = size_of::<Ancillary>() as _;
        }
        let flags = match sleep {
            Sleep::UntilOne => libc::MSG_WAITFORONE,
            Sleep::Never => libc::MSG_DONTWAIT,
        };
        // SAFETY: every header points to buffers of the lengths that it gives, which outlive the call and
        // which nothing else touches meanwhile.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| Error::last_os_error())?;
        for (at, header) in headers[..count].iter().enumerate() {
            let bytes = &self.buffers[at][..(header.msg_len as usize).min(LONGEST_DATAGRAM)];
            let ip = Ipv4Addr::from(u32::from_be(names[at].sin_addr.s_addr));
            let from = SocketAddrV4::new(ip, u16::from_be(names[at].sin_port));
            handle(bytes, SocketAddr::V4(from), stamp(&header.msg_hdr));
        }
        Ok(())
    }
}

/// The kernel's stamp, if it put one.
fn stamp(header: &libc::msghdr) -> Option<TimeSpec> {
    // SAFETY: the kernel has filled the ancillary buffer and set its length, and these macros walk only within it;
    // a stamp is a `timespec`, read without regard to its alignment.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = control.as_ref() {
            if (found.cmsg_level, found.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
                let stamp: libc::timespec =
                    libc::CMSG_DATA(control).cast::<libc::timespec>().read_unaligned();
                return Some(TimeSpec::from(stamp));
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

fn slice(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }
}

/// Collects datagrams and hands them to the kernel together.
pub struct Outbox {
    datagrams: Vec<(Vec<u8>, SocketAddrV4)>,
    used: usize,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        let datagram = || (Vec::with_capacity(LONGEST_DATAGRAM), SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        Outbox { datagrams: (0..BATCH).map(|_| datagram()).collect(), used: 0 }
    }

    /// Adds the datagram that `write` makes, for `to`; sends first if there is no room. Addresses that the
    /// socket cannot reach (IPv6) are left out.
    pub fn add(&mut self, socket: &UdpSocket, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        let SocketAddr::V4(to) = to else { return };
        if self.used == BATCH {
            self.send(socket);
        }
        let (bytes, address) = &mut self.datagrams[self.used];
        write(bytes);
        *address = to;
        self.used += 1;
    }

    /// Sends what was added. What a line does not take is lost; the next packets may pass.
    pub fn send(&mut self, socket: &UdpSocket) {
        let mut first = 0;
        while first < self.used {
            // The kernel stops at the first that it refuses: go on after that one.
            first += self.send_some(socket, first).max(1);
        }
        self.used = 0;
    }

    /// How many of those from `first` on were sent.
    fn send_some(&mut self, socket: &UdpSocket, first: usize) -> usize {
        // SAFETY: as in `Inbox::receive`.
        let (mut headers, mut slices, mut names) = unsafe {
            (
                zeroed::<[libc::mmsghdr; BATCH]>(),
                zeroed::<[libc::iovec; BATCH]>(),
                zeroed::<[libc::sockaddr_in; BATCH]>(),
            )
        };
        let waiting = &mut self.datagrams[first..self.used];
        for (at, (bytes, to)) in waiting.iter_mut().enumerate() {
            slices[at] = slice(bytes);
            names[at].sin_family = libc::AF_INET as libc::sa_family_t;
            names[at].sin_port = to.port().to_be();
            names[at].sin_addr.s_addr = u32::from(*to.ip()).to_be();
            let header = &mut headers[at].msg_hdr;
            header.msg_name = (&raw mut names[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = &raw mut slices[at];
            header.msg_iovlen = 1;
        }
        // SAFETY: every header points to a datagram of the length that it gives and to an address, all of
        // which outlive the call; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                waiting.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use nix::sys::socket::{setsockopt, sockopt::ReceiveTimestampns};

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
        socket
    }

    #[test]
    fn more_than_one_call_takes_arrives_whole_in_order_and_with_stamps() {
        let (from, to) = (socket(), socket());
        // QEMU, when it runs a single program, knows no stamps and says so.
        let stamped = match setsockopt(&to, ReceiveTimestampns, &true) {
            Err(Errno::ENOPROTOOPT) => false,
            done => done.map(|()| true).unwrap(),
        };
        let mut outbox = Outbox::new();
        for n in 0..75_u8 {
            outbox.add(&from, to.local_addr().unwrap(), |bytes| {
                bytes.clear();
                bytes.resize(usize::from(n) + 1, n);
            });
        }
        outbox.send(&from);
        let (mut inbox, mut seen) = (Inbox::new(), Vec::new());
        while seen.len() < 75 {
            let before = seen.len();
            inbox
                .receive(&to, Sleep::UntilOne, |bytes, sender, stamp| {
                    assert_eq!(sender, from.local_addr().unwrap());
                    assert_eq!(stamp.is_some(), stamped);
                    seen.push(bytes.to_vec());
                })
                .unwrap();
            assert!(seen.len() > before, "loopback delivers while it sends, so everything is there");
        }
        let sent: Vec<_> = (0..75_u8).map(|n| vec![n; usize::from(n) + 1]).collect();
        assert_eq!(seen, sent);
        let nothing = inbox.receive(&to, Sleep::UntilOne, |_, _, _| panic!("nothing is left"));
        assert_eq!(nothing.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_datagram_that_cannot_be_sent_does_not_stop_the_next() {
        let (from, to) = (socket(), socket());
        let mut outbox = Outbox::new();
        let write = |len| move |bytes: &mut Vec<u8>| bytes.resize(len, 7);
        outbox.add(&from, "255.255.255.255:9".parse().unwrap(), write(4)); // broadcast is not allowed
        outbox.add(&from, "[::1]:9".parse().unwrap(), write(4));
        outbox.add(&from, to.local_addr().unwrap(), write(5));
        outbox.send(&from);
        let mut seen = 0;
        Inbox::new().receive(&to, Sleep::Never, |bytes, _, _| seen += bytes.len()).unwrap();
        assert_eq!(seen, 5);
    }

    #[test]
    fn what_is_too_long_is_cut_and_an_empty_one_is_empty() {
        let (from, to) = (socket(), socket());
        from.send_to(&[1; 4_000], to.local_addr().unwrap()).unwrap();
        from.send_to(&[], to.local_addr().unwrap()).unwrap();
        let mut seen = Vec::new();
        Inbox::new().receive(&to, Sleep::Never, |bytes, _, _| seen.push(bytes.len())).unwrap();
        assert_eq!(seen, [LONGEST_DATAGRAM, 0]);
    }
}
