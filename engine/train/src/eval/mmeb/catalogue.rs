//! The benchmark's 78 tasks, their groups, and how each is scored.

use serde::{Deserialize, Serialize};

/// What a task is about. The three families of the public tables are the first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Which class an image is of.
    ImageClassification,
    /// Which answer fits an image and a question.
    ImageQa,
    /// Which image or text belongs to the other.
    ImageRetrieval,
    /// Which part of an image is meant.
    ImageGrounding,
    /// Which class a video is of.
    VideoClassification,
    /// Which answer fits a video and a question.
    VideoQa,
    /// Which video a text describes.
    VideoRetrieval,
    /// Which moment of a video is meant.
    VideoMoments,
    /// ViDoRe, version 1.
    VisdocVidore1,
    /// ViDoRe, version 2.
    VisdocVidore2,
    /// VisRAG.
    VisdocVisrag,
    /// Documents unlike those of training.
    VisdocOod,
}

/// How a task is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Whether the best candidate is right.
    HitAt1,
    /// Discounted gain of the first five, with grades as gains.
    NdcgAt5,
}

/// One task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Its folder.
    pub name: &'static str,
    /// Its group.
    pub group: Group,
}

impl Group {
    /// `image`, `video` or `visdoc`.
    pub fn family(self) -> &'static str {
        match self {
            Self::ImageClassification
            | Self::ImageQa
            | Self::ImageRetrieval
            | Self::ImageGrounding => "image",
            Self::VideoClassification
            | Self::VideoQa
            | Self::VideoRetrieval
            | Self::VideoMoments => "video",
            Self::VisdocVidore1 | Self::VisdocVidore2 | Self::VisdocVisrag | Self::VisdocOod => {
                "visdoc"
            }
        }
    }

    /// The name in results, for example `image_classification`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageClassification => "image_classification",
            Self::ImageQa => "image_qa",
            Self::ImageRetrieval => "image_retrieval",
            Self::ImageGrounding => "image_grounding",
            Self::VideoClassification => "video_classification",
            Self::VideoQa => "video_qa",
            Self::VideoRetrieval => "video_retrieval",
            Self::VideoMoments => "video_moments",
            Self::VisdocVidore1 => "visdoc_vidore1",
            Self::VisdocVidore2 => "visdoc_vidore2",
            Self::VisdocVisrag => "visdoc_visrag",
            Self::VisdocOod => "visdoc_ood",
        }
    }

    /// How its tasks are scored.
    pub fn measure(self) -> Measure {
        if self.family() == "visdoc" { Measure::NdcgAt5 } else { Measure::HitAt1 }
    }
}

/// Finds a task by its folder's name.
pub fn find_task(name: &str) -> Option<Task> {
    TASKS.iter().copied().find(|task| task.name == name)
}

const fn task(group: Group, name: &'static str) -> Task {
    Task { name, group }
}

use Group::{
    ImageClassification as ICls, ImageGrounding as IVg, ImageQa as IQa, ImageRetrieval as IRet,
    VideoClassification as VCls, VideoMoments as VMret, VideoQa as VQa, VideoRetrieval as VRet,
    VisdocOod as Ood, VisdocVidore1 as Vd1, VisdocVidore2 as Vd2, VisdocVisrag as Rag,
};

/// Every task of MMEB-V2.
pub const TASKS: [Task; 78] = [
    task(ICls, "ImageNet-1K"),
    task(ICls, "N24News"),
    task(ICls, "HatefulMemes"),
    task(ICls, "VOC2007"),
    task(ICls, "SUN397"),
    task(ICls, "Place365"),
    task(ICls, "ImageNet-A"),
    task(ICls, "ImageNet-R"),
    task(ICls, "ObjectNet"),
    task(ICls, "Country211"),
    task(IQa, "OK-VQA"),
    task(IQa, "A-OKVQA"),
    task(IQa, "DocVQA"),
    task(IQa, "InfographicsVQA"),
    task(IQa, "ChartQA"),
    task(IQa, "Visual7W"),
    task(IQa, "ScienceQA"),
    task(IQa, "VizWiz"),
    task(IQa, "GQA"),
    task(IQa, "TextVQA"),
    task(IRet, "VisDial"),
    task(IRet, "CIRR"),
    task(IRet, "VisualNews_t2i"),
    task(IRet, "VisualNews_i2t"),
    task(IRet, "MSCOCO_t2i"),
    task(IRet, "MSCOCO_i2t"),
    task(IRet, "NIGHTS"),
    task(IRet, "WebQA"),
    task(IRet, "FashionIQ"),
    task(IRet, "Wiki-SS-NQ"),
    task(IRet, "OVEN"),
    task(IRet, "EDIS"),
    task(IVg, "MSCOCO"),
    task(IVg, "RefCOCO"),
    task(IVg, "RefCOCO-Matching"),
    task(IVg, "Visual7W-Pointing"),
    task(VCls, "K700"),
    task(VCls, "SmthSmthV2"),
    task(VCls, "HMDB51"),
    task(VCls, "UCF101"),
    task(VCls, "Breakfast"),
    task(VQa, "MVBench"),
    task(VQa, "Video-MME"),
    task(VQa, "NExTQA"),
    task(VQa, "EgoSchema"),
    task(VQa, "ActivityNetQA"),
    task(VRet, "DiDeMo"),
    task(VRet, "MSR-VTT"),
    task(VRet, "MSVD"),
    task(VRet, "VATEX"),
    task(VRet, "YouCook2"),
    task(VMret, "QVHighlight"),
    task(VMret, "Charades-STA"),
    task(VMret, "MomentSeeker"),
    task(Vd1, "ViDoRe_arxivqa"),
    task(Vd1, "ViDoRe_docvqa"),
    task(Vd1, "ViDoRe_infovqa"),
    task(Vd1, "ViDoRe_tabfquad"),
    task(Vd1, "ViDoRe_tatdqa"),
    task(Vd1, "ViDoRe_shiftproject"),
    task(Vd1, "ViDoRe_syntheticDocQA_artificial_intelligence"),
    task(Vd1, "ViDoRe_syntheticDocQA_energy"),
    task(Vd1, "ViDoRe_syntheticDocQA_government_reports"),
    task(Vd1, "ViDoRe_syntheticDocQA_healthcare_industry"),
    task(Vd2, "ViDoRe_esg_reports_human_labeled_v2"),
    task(Vd2, "ViDoRe_biomedical_lectures_v2_multilingual"),
    task(Vd2, "ViDoRe_economics_reports_v2_multilingual"),
    task(Vd2, "ViDoRe_esg_reports_v2_multilingual"),
    task(Rag, "VisRAG_ArxivQA"),
    task(Rag, "VisRAG_ChartQA"),
    task(Rag, "VisRAG_MP-DocVQA"),
    task(Rag, "VisRAG_SlideVQA"),
    task(Rag, "VisRAG_InfoVQA"),
    task(Rag, "VisRAG_PlotQA"),
    task(Ood, "ViDoSeek-page"),
    task(Ood, "ViDoSeek-doc"),
    task(Ood, "MMLongBench-page"),
    task(Ood, "MMLongBench-doc"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_families_have_the_published_sizes() {
        let count = |family| TASKS.iter().filter(|task| task.group.family() == family).count();
        assert_eq!((count("image"), count("video"), count("visdoc")), (36, 18, 24));
        let names: HashSet<_> = TASKS.iter().map(|task| task.name).collect();
        assert_eq!(names.len(), TASKS.len());
    }
}
