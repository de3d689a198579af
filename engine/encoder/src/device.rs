//! Names of compute devices, as `--device` takes them.

use burn::tensor::Device;

use crate::error::EncoderError;

/// The device that runs the fused pass.
pub(crate) const FUSED: &str = "cpu";
/// The device that runs the portable module on the CPU.
const PORTABLE: &str = "flex";

/// Opens a device by its name: `cpu`, `flex` or `cuda:N`. The first two are the same
/// place; they differ in what runs there.
///
/// # Errors
/// Refuses other names, CUDA in a build without the `cuda` feature, and a GPU that is
/// not there.
pub fn open_device(name: &str) -> Result<Device, EncoderError> {
    if name == FUSED || name == PORTABLE {
        return Ok(Device::flex());
    }
    let index = match name.strip_prefix("cuda") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix(':').and_then(|number| number.parse::<usize>().ok()),
        None => None,
    };
    match index {
        Some(index) => open_cuda(index),
        None => Err(refused(format!("`{name}` is no device; use `cpu`, `flex` or `cuda:0`"))),
    }
}

/// Describes a device for people, for example `flex (CPU)`.
pub fn describe_device(name: &str) -> String {
    match name {
        FUSED | PORTABLE => "flex (CPU)".to_owned(),
        "cuda" => "cuda:0 (GPU)".to_owned(),
        other => format!("{other} (GPU)"),
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Device, EncoderError> {
    let found = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len();
    if index < found {
        Ok(Device::cuda(index))
    } else {
        Err(refused(format!("cuda:{index} is not there; this machine has {found} CUDA devices")))
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: usize) -> Result<Device, EncoderError> {
    Err(refused(format!(
        "cuda:{index} needs a build with `--features cuda`; this one has only `cpu`"
    )))
}

fn refused(problem: String) -> EncoderError {
    EncoderError::Option { option: "device", problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_opens() {
        assert!(open_device("cpu").is_ok());
        assert!(open_device("flex").is_ok());
        assert_eq!(describe_device("cpu"), "flex (CPU)");
    }

    #[test]
    fn other_names_are_refused_by_name() {
        for name in ["", "gpu", "cuda:x", "cuda0", "CPU"] {
            let message = open_device(name).expect_err("no such device").to_string();
            assert!(message.contains(&format!("`{name}`")), "{message}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn cuda_names_the_missing_feature() {
        let message = open_device("cuda:0").expect_err("built without cuda").to_string();
        assert!(message.contains("--features cuda"), "{message}");
    }
}
