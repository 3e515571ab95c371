//! The one address type, from the hook to the JSON.

wire! {
    /// An IP address: 16 bytes in network order, IPv4 in mapped form (`::ffff:a.b.c.d`).
    #[derive(Hash)]
    pub struct Addr {
        /// The address in network byte order.
        pub bytes: [u8; 16],
    }
}

/// First twelve bytes of every IPv4 address in mapped form (RFC 4291, section 2.5.5.2).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Addr {
    /// The unspecified IPv6 address, also used where there is no address.
    pub const UNSPECIFIED: Self = Self { bytes: [0; 16] };

    /// From the four bytes of an IPv4 address in network order.
    #[inline(always)]
    #[must_use]
    pub const fn v4(b: [u8; 4]) -> Self {
        Self { bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, b[0], b[1], b[2], b[3]] }
    }

    /// From four 32-bit words as the kernel keeps them (network order in memory).
    #[inline(always)]
    #[must_use]
    pub const fn v6_words(w: [u32; 4]) -> Self {
        let (a, b, c, d) = (w[0].to_ne_bytes(), w[1].to_ne_bytes(), w[2].to_ne_bytes(), w[3].to_ne_bytes());
        Self {
            bytes: [
                a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2],
                d[3],
            ],
        }
    }

    /// Its two halves as they lie in memory, for arithmetic on whole words.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        let b = &self.bytes;
        [
            u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        ]
    }

    /// From [`Self::words`].
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        let (a, b) = (words[0].to_ne_bytes(), words[1].to_ne_bytes());
        Self {
            bytes: [
                a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5], b[6],
                b[7],
            ],
        }
    }

    /// Whether it stands for any address, as IPv4 or IPv6.
    #[inline(always)]
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        let mut index = 0;
        while index < 16 {
            let may_be_mapped = index == 10 || index == 11;
            if self.bytes[index] != 0 && !may_be_mapped {
                return false;
            }
            index += 1;
        }
        self.bytes[10] == self.bytes[11] && (self.bytes[10] == 0 || self.bytes[10] == 0xff)
    }

    /// Whether this is an IPv4 address in mapped form.
    #[inline(always)]
    #[must_use]
    pub fn is_v4(&self) -> bool {
        let mut index = 0;
        while index < 12 {
            if self.bytes[index] != MAPPED[index] {
                return false;
            }
            index += 1;
        }
        true
    }
}

#[cfg(feature = "user")]
mod user {
    use super::Addr;
    use core::{fmt, net::IpAddr, net::Ipv6Addr};

    impl From<Addr> for IpAddr {
        fn from(addr: Addr) -> Self {
            Ipv6Addr::from(addr.bytes).to_canonical()
        }
    }

    impl From<IpAddr> for Addr {
        fn from(addr: IpAddr) -> Self {
            match addr {
                IpAddr::V4(v4) => Self::v4(v4.octets()),
                IpAddr::V6(v6) => Self { bytes: v6.octets() },
            }
        }
    }

    impl fmt::Display for Addr {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            IpAddr::from(*self).fmt(f)
        }
    }

    impl serde::Serialize for Addr {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Addr;

    #[test]
    fn v4_is_mapped() {
        assert!(Addr::v4([10, 1, 2, 3]).is_v4());
        assert!(!Addr::UNSPECIFIED.is_v4());
    }

    #[test]
    fn words_are_its_halves() {
        let addr = Addr { bytes: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8] };
        assert_eq!(Addr::from_words(addr.words()), addr);
        assert_eq!(Addr::from_words([addr.words()[0], 0]).bytes[..9], [0x20, 1, 0xd, 0xb8, 0, 0, 0, 9, 0]);
    }
}
