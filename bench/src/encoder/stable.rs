//! Where the contestants come from: the peers' processes, and our own engine.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::ensure;
use twn_encoder::{Isa, model};

use super::{
    contestant::{Contestant, Engine, Other, Ours, PeerContestant},
    drive::Stable,
    ours::OurEngine,
};
use crate::peer::PeerCommand;

/// Loading PyTorch takes half a minute on a slow disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// The peers' programs, beside this program's sources.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// What keeps PyTorch, its own kernels and both libraries that it calls, to AVX2.
const TORCH_ON_AVX2: &[(&str, &str)] = &[
    ("ATEN_CPU_CAPABILITY", "avx2"),
    ("ONEDNN_MAX_CPU_ISA", "AVX2"),
    ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
];

/// The contestants of a real run.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Made by setup.sh.
    pub(crate) peers: PathBuf,
    pub(crate) threads: usize,
    /// What all contestants compute with; all that the processor has where absent. llama.cpp is
    /// what the peers' folder was set up for.
    pub(crate) isa: Option<Isa>,
    /// Ours; the default model where absent.
    pub(crate) model: Option<PathBuf>,
}

impl Machine {
    fn command(&self, other: Other) -> PeerCommand {
        let (script, model) = match other {
            Other::LlamaCppQ4 => ("llama_cpp_encoder.py", "q4_0.gguf"),
            Other::LlamaCppQ8 => ("llama_cpp_encoder.py", "q8_0.gguf"),
            Other::Torch => ("torch_encoder.py", "source.gguf"),
        };
        let script = Path::new(SCRIPTS).join(script);
        let model = self.peers.join("models").join(model);
        let program = self.peers.join("venv/bin/python");
        let arguments: [OsString; 4] = [
            script.clone().into(),
            model.clone().into(),
            "--threads".into(),
            self.threads.to_string().into(),
        ];
        PeerCommand {
            name: other.to_string(),
            program: program.clone(),
            arguments: arguments.into(),
            variables: if self.keeps_to_avx2() { TORCH_ON_AVX2 } else { &[] },
            needs: vec![program, script, model],
            setup: format!("bench/peers/setup.sh {}", self.peers.display()),
            answer_within: ANSWER_WITHIN,
        }
    }
}

impl Machine {
    /// Tells whether there is more than AVX2, and all contestants are to do without.
    fn keeps_to_avx2(&self) -> bool {
        self.isa.is_some() && self.isa == Isa::find("avx2") && self.isa != Some(Isa::best())
    }

    /// Refuses a llama.cpp that has more than AVX2 where all are to do without.
    fn check_build(&self) -> anyhow::Result<()> {
        let path = self.peers.join("llama.cpp/build.json");
        if self.keeps_to_avx2() && path.exists() {
            let build: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
            ensure!(
                build["options"]["GGML_NATIVE"] == "OFF",
                "llama.cpp in {} is built for all that this processor has: run `INSTRUCTIONS=avx2 \
                 bench/peers/setup.sh FOLDER`, then with `--peers FOLDER`",
                self.peers.display()
            );
        }
        Ok(())
    }
}

impl Stable for Machine {
    fn start_other(&mut self, other: Other) -> anyhow::Result<Box<dyn Contestant>> {
        self.check_build()?;
        Ok(Box::new(PeerContestant::start(self.command(other))?))
    }

    fn load_ours(&mut self, ours: Ours) -> anyhow::Result<Option<Box<dyn Engine>>> {
        let model = match &self.model {
            Some(path) => path.clone(),
            None => model::ensure_default(&model::default_home()?)?,
        };
        Ok(Some(Box::new(OurEngine::load(model, ours, self.threads, self.isa)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_that_are_not_set_up_say_how_to() {
        let mut machine =
            Machine { peers: "/nowhere/peers".into(), threads: 2, isa: None, model: None };
        for other in [Other::LlamaCppQ4, Other::LlamaCppQ8, Other::Torch] {
            let message = machine.start_other(other).err().unwrap().to_string();
            assert!(
                message.contains("run `bench/peers/setup.sh /nowhere/peers` first"),
                "{message}"
            );
        }
    }

    #[test]
    fn the_peers_programs_are_there() {
        let machine =
            Machine { peers: "/nowhere/peers".into(), threads: 3, isa: None, model: None };
        for other in [Other::LlamaCppQ4, Other::LlamaCppQ8, Other::Torch] {
            let command = machine.command(other);
            assert!(command.needs[1].is_file(), "{}", command.needs[1].display());
            assert_eq!(command.arguments[2..], ["--threads", "3"]);
        }
    }
}
