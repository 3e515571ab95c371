//! Network namespaces with links between them, made over netlink.
//!
//! A namespace has no name and no file: it lives as long as its guard and what runs in it.

mod links;

use std::{
    fs::File,
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    thread,
};

use anyhow::{Context, Result, anyhow};
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::{
        address::AddressHeaderFlags,
        link::{LinkAttribute, LinkMessage, LinkXdp},
    },
};

/// A network namespace of one's own, its loopback interface up.
#[derive(Debug)]
pub struct Netns {
    file: File,
}

impl Netns {
    /// Makes a namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new() -> Result<Self> {
        let file = thread::spawn(|| -> Result<File> {
            // SAFETY: moves only this thread, which ends right after.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } == -1 {
                return Err(io::Error::last_os_error()).context("making a network namespace");
            }
            File::open("/proc/thread-self/ns/net").context("opening the new network namespace")
        });
        let file = file.join().map_err(|_| anyhow!("the thread making a namespace panicked"))??;
        let netns = Self { file };
        netns.run(without_address_detection)?;
        netns.up("lo")?;
        Ok(netns)
    }

    /// Runs something on a thread inside of the namespace.
    ///
    /// # Errors
    /// When the namespace can't be entered, or `body` fails.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: moves only this thread, which ends with the body.
                if unsafe { libc::setns(self.file.as_raw_fd(), libc::CLONE_NEWNET) } == -1 {
                    return Err(io::Error::last_os_error()).context("entering a network namespace");
                }
                body()
            });
            thread.join().map_err(|_| anyhow!("a thread in a network namespace panicked"))?
        })
    }

    /// Links this namespace with another one: an interface here, its peer there, both up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn link(&self, name: &str, other: &Self, peer: &str) -> Result<()> {
        self.netlink(async |handle| {
            handle.link().add(LinkVeth::new(name, peer).build()).execute().await?;
            let moved: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_name(peer);
            handle.link().set(moved.setns_by_fd(other.file.as_raw_fd()).build()).execute().await?;
            Ok(())
        })
        .with_context(|| format!("linking {name} with {peer}"))?;
        self.up(name)?;
        other.up(peer)
    }

    /// Gives an interface an address, usable at once.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses.
    pub fn address(&self, interface: &str, address: IpAddr, prefix: u8) -> Result<()> {
        self.netlink(async |handle| {
            let index = find(&handle, interface).await?.header.index;
            let mut request = handle.address().add(index, address, prefix);
            // No search for duplicates: a v6 address would be tentative for more than a second.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            request.execute().await.map_err(Into::into)
        })
        .with_context(|| format!("giving {interface} the address {address}/{prefix}"))
    }

    /// How an XDP program is attached to an interface: `Driver`, `Skb`, ...; `None` without one.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn xdp(&self, interface: &str) -> Result<Option<String>> {
        self.netlink(async |handle| Ok(xdp_of(&find(&handle, interface).await?)))
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn up(&self, interface: &str) -> Result<()> {
        self.netlink(async |handle| {
            let link: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_name(interface);
            handle.link().set(link.up().build()).execute().await.map_err(Into::into)
        })
        .with_context(|| format!("setting {interface} up"))
    }

    fn netlink<T: Send>(&self, body: impl AsyncFnOnce(Handle) -> Result<T> + Send) -> Result<T> {
        self.run(|| with_netlink(body))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What is attached to the interfaces of this process's namespace: XDP programs and queueing disciplines.
///
/// # Errors
/// When the kernel refuses to list them.
pub fn attachments() -> Result<Vec<String>> {
    with_netlink(async |handle| {
        let mut found = Vec::new();
        let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
        for link in &links {
            if let Some(how) = xdp_of(link) {
                found.push(format!("XDP ({how}) on interface {}", link.header.index));
            }
        }
        let disciplines: Vec<_> = handle.qdisc().get().execute().try_collect().await?;
        for discipline in disciplines {
            let (header, attributes) = (discipline.header, discipline.attributes);
            found.push(format!("queueing on interface {}: {:?}", header.index, attributes.first()));
        }
        Ok(found)
    })
}

/// Talks to the kernel about the network namespace of the calling thread.
/// Switches off duplicate address detection, during which a new interface's own address can't be used for a second:
/// nobody else is on these links. A kernel without IPv6 has nothing to switch off.
fn without_address_detection() -> Result<()> {
    for conf in ["all", "default"] {
        match std::fs::write(format!("/proc/sys/net/ipv6/conf/{conf}/accept_dad"), "0") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context("switching off duplicate address detection");
            }
            _ => {}
        }
    }
    Ok(())
}

fn with_netlink<T>(body: impl AsyncFnOnce(Handle) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
        tokio::spawn(connection);
        body(handle).await
    })
}

async fn find(handle: &Handle, interface: &str) -> Result<LinkMessage> {
    let mut links = handle.link().get().match_name(interface.to_owned()).execute();
    let link = links.try_next().await.with_context(|| format!("interface {interface}"))?;
    link.with_context(|| format!("no interface {interface}"))
}

fn xdp_of(link: &LinkMessage) -> Option<String> {
    let attached = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(parts) => parts.iter().find_map(|part| match part {
            LinkXdp::Attached(how) => Some(format!("{how:?}")),
            _ => None,
        }),
        _ => None,
    });
    attached.filter(|how| how != "None")
}
