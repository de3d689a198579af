//! Which vector instructions the kernels use.

/// A set of vector instructions that the kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust; correct everywhere.
    Portable,
    /// AVX2 with FMA and F16C: x86-64 servers and desktops since about 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with VNNI: Ice Lake and Zen 4 on.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// Finds all that this machine can run, the fastest last.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if has_avx2 {
                found.push(Self::Avx2);
            }
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            if has_avx2 && has_avx512 {
                found.push(Self::Avx512);
            }
        }
        found
    }

    /// Finds one that this machine can run by its name, in any case: `portable`, `AVX2`, or
    /// `AVX-512` for [`Self::Avx512`].
    pub fn find(name: &str) -> Option<Self> {
        let is_meant = |isa: &Self| match isa {
            Self::Portable => name.eq_ignore_ascii_case("portable"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => name.eq_ignore_ascii_case("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => name.eq_ignore_ascii_case("avx-512"),
        };
        Self::available().into_iter().find(is_meant)
    }

    /// Finds the fastest that this machine can run.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    /// Names it for people, for example `AVX2`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512 VNNI",
        }
    }
}
