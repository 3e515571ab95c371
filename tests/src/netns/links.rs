//! Interfaces that change.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::{InfoKind, LinkAttribute, LinkXdp},
        tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
    },
};

use super::{Netns, find};

/// A change of an interface that has a name.
type Change = LinkMessageBuilder<LinkUnspec>;

impl Netns {
    /// Removes an interface, and its peer with it.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn remove(&self, interface: &str) -> Result<()> {
        self.netlink(async |handle| {
            let index = find(&handle, interface).await?.header.index;
            handle.link().del(index).execute().await.map_err(Into::into)
        })
        .with_context(|| format!("removing {interface}"))
    }

    /// Gives an interface another name. Older kernels take it only while it is down.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn rename(&self, interface: &str, name: &str) -> Result<()> {
        self.change(interface, Change::down)?;
        self.change(interface, |link| link.name(name.to_owned()))?;
        self.up(name)
    }

    /// Sets an interface down and up again, which ends its routes.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn bounce(&self, interface: &str) -> Result<()> {
        self.change(interface, Change::down)?;
        self.up(interface)
    }

    /// Sets the largest packet of an interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mtu(&self, interface: &str, bytes: u32) -> Result<()> {
        self.change(interface, |link| link.mtu(bytes))
    }

    /// Moves an interface to another namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn give(&self, interface: &str, other: &Self) -> Result<()> {
        self.change(interface, |link| link.setns_by_fd(other.file.as_raw_fd()))
    }

    /// Makes a bridge, up, with an interface as its port.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bridge(&self, name: &str, port: &str) -> Result<()> {
        self.netlink(async |handle| {
            handle.link().add(LinkBridge::new(name).build()).execute().await.map_err(Into::into)
        })
        .with_context(|| format!("making the bridge {name}"))?;
        let index = self.index(name)?;
        self.change(port, |link| link.controller(index))?;
        self.up(name)
    }

    /// Makes an interface of a kind that needs no more to be said.
    ///
    /// # Errors
    /// When the kernel refuses; `Err` of the inner result has its code.
    pub fn device(&self, name: &str, kind: &str) -> Result<std::result::Result<(), i32>> {
        self.netlink(async |handle| {
            let kind = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Other(kind.to_owned()));
            match handle.link().add(kind.name(name.to_owned()).build()).execute().await {
                Ok(()) => Ok(Ok(())),
                Err(rtnetlink::Error::NetlinkError(error)) => Ok(Err(-error.raw_code())),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// The number of an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn index(&self, interface: &str) -> Result<u32> {
        self.netlink(async |handle| Ok(find(&handle, interface).await?.header.index))
    }

    /// The id of the XDP program on an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn xdp_program(&self, interface: &str) -> Result<Option<u32>> {
        let link = self.netlink(async |handle| find(&handle, interface).await)?;
        let parts = link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::Xdp(parts) => Some(parts),
            _ => None,
        });
        let mut ids = parts.into_iter().flatten().filter_map(|part| match part {
            LinkXdp::ProgId(id) => Some(id),
            _ => None,
        });
        Ok(ids.next())
    }

    /// Makes a default route over an interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn default_route(&self, interface: &str, via: IpAddr) -> Result<()> {
        let index = self.index(interface)?;
        self.netlink(async |handle| {
            let route = match via {
                IpAddr::V4(via) => {
                    RouteMessageBuilder::<Ipv4Addr>::new().gateway(via).output_interface(index).build()
                }
                IpAddr::V6(via) => {
                    RouteMessageBuilder::<Ipv6Addr>::new().gateway(via).output_interface(index).build()
                }
            };
            handle.route().add(route).execute().await.map_err(Into::into)
        })
        .with_context(|| format!("a default route over {interface}"))
    }

    /// Attaches a BPF program as a filter of traffic control where packets come in.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn filter(&self, interface: &str, priority: u16, name: &str, program: BorrowedFd<'_>) -> Result<()> {
        let mut discipline = self.traffic(interface)?;
        discipline.header.parent = TcHandle::CLSACT;
        discipline.header.handle = TcHandle { major: 0xffff, minor: 0 };
        discipline.attributes.push(TcAttribute::Kind("clsact".into()));
        let mut filter = self.traffic(interface)?;
        // All protocols, in the order of the network.
        filter.header.info = u32::from(priority) << 16 | u32::from(3u16.to_be());
        filter.attributes.push(TcAttribute::Kind("bpf".into()));
        filter.attributes.push(TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd() as u32)),
            TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
            // TCA_BPF_FLAG_ACT_DIRECT: what the program returns is what happens.
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]));
        let make = NLM_F_CREATE | NLM_F_EXCL;
        self.netlink(async |handle| {
            // It may have been made by somebody else.
            let _ = tell(&handle, RouteNetlinkMessage::NewQueueDiscipline(discipline), make).await;
            tell(&handle, RouteNetlinkMessage::NewTrafficFilter(filter), make).await
        })
        .with_context(|| format!("a filter on {interface}"))
    }

    /// Takes all filters off an interface, whosever they are.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn without_filters(&self, interface: &str) -> Result<()> {
        let mut discipline = self.traffic(interface)?;
        discipline.header.parent = TcHandle::CLSACT;
        self.netlink(async |handle| {
            tell(&handle, RouteNetlinkMessage::DelQueueDiscipline(discipline), 0).await
        })
        .with_context(|| format!("taking the filters off {interface}"))
    }

    /// The ids of the BPF programs that are such filters.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn filters(&self, interface: &str) -> Result<Vec<u32>> {
        let index = self.index(interface)? as i32;
        let filters = self.netlink(async |handle| {
            let listed = handle.traffic_filter(index).get().ingress().execute();
            listed.try_collect::<Vec<_>>().await.map_err(Into::into)
        })?;
        let options = filters.into_iter().flat_map(|filter| filter.attributes).filter_map(|attribute| {
            if let TcAttribute::Options(options) = attribute { Some(options) } else { None }
        });
        let id =
            |option| if let TcOption::Bpf(TcFilterBpfOption::ProgId(id)) = option { Some(id) } else { None };
        Ok(options.flatten().filter_map(id).collect())
    }

    /// A message about where packets come in on an interface.
    fn traffic(&self, interface: &str) -> Result<TcMessage> {
        let mut message = TcMessage::with_index(self.index(interface)? as i32);
        message.header.parent = TcHandle { major: 0xffff, minor: TcHandle::MIN_INGRESS };
        Ok(message)
    }

    fn change(&self, interface: &str, change: impl FnOnce(Change) -> Change + Send) -> Result<()> {
        let link = change(LinkUnspec::new_with_index(self.index(interface)?));
        self.netlink(async |handle| handle.link().set(link.build()).execute().await.map_err(Into::into))
            .with_context(|| format!("changing {interface}"))
    }
}

/// Has the kernel do something.
async fn tell(handle: &Handle, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut answer = handle.clone().request(message)?;
    while let Some(message) = answer.next().await {
        if let NetlinkPayload::Error(error) = message.payload
            && error.code.is_some()
        {
            return Err(error.to_io().into());
        }
    }
    Ok(())
}
