//! Content: parts of text and media.

use twn_protos::v1 as pb;
use twn_service::{Content, Media, Part, ServiceError};

/// Reads content whose path in the request is `field`.
pub(crate) fn content(message: pb::Content, field: &str) -> Result<Content, ServiceError> {
    let parts = message.parts.into_iter().enumerate().map(|(i, part)| {
        let Some(kind) = part.kind else {
            let field = format!("{field}.parts[{i}]");
            return Err(ServiceError::invalid(field, "is none of text, image, video and page"));
        };
        match kind {
            pb::part::Kind::Text(text) => Ok(Part::Text(text)),
            pb::part::Kind::Image(image) => {
                Ok(Part::Media(Media { uri: image.uri, ..Media::image(image.data) }))
            }
            pb::part::Kind::Video(part) => video(part, &format!("{field}.parts[{i}].video")),
            pb::part::Kind::Page(page) => {
                Ok(Part::Media(Media { uri: page.uri, ..Media::page(page.data, page.number) }))
            }
        }
    });
    Ok(Content { parts: parts.collect::<Result<_, _>>()? })
}

fn video(message: pb::Video, field: &str) -> Result<Part, ServiceError> {
    let media = match message.source {
        Some(pb::video::Source::Frames(frames)) => {
            if !frames.fps.is_finite() || frames.fps < 0.0 {
                let problem = format!("{} is not a number of frames per second", frames.fps);
                return Err(ServiceError::invalid(format!("{field}.frames.fps"), problem));
            }
            let files = frames.images.into_iter().map(|image| image.data).collect();
            Media::frames(files, frames.fps)
        }
        Some(pb::video::Source::Data(data)) => Media::video(data),
        None => return Err(ServiceError::invalid(field, "has neither frames nor data")),
    };
    Ok(Part::Media(Media { uri: message.uri, ..media }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::part::Kind;

    #[track_caller]
    fn check(kind: Option<Kind>, want: Result<Part, &str>) {
        let message = pb::Content { parts: vec![pb::Part { kind }] };
        match (content(message, "content"), want) {
            (Ok(got), Ok(want)) => assert_eq!(got.parts, [want]),
            (Err(got), Err(want)) => assert_eq!(got.to_string(), want),
            (got, want) => panic!("{got:?}, not {want:?}"),
        }
    }

    #[test]
    fn parts_keep_their_kind_and_bytes() {
        let image = pb::Image { data: vec![1, 2], uri: "u".into() };
        let frames = pb::Frames { images: vec![image.clone(), image.clone()], fps: 2.0 };
        let source = Some(pb::video::Source::Frames(frames));
        let page = pb::Page { data: vec![3], number: 1, uri: String::new() };
        let named = |uri: &str, media| Ok(Part::Media(Media { uri: uri.into(), ..media }));

        check(Some(Kind::Text("t".into())), Ok(Part::Text("t".into())));
        check(Some(Kind::Image(image)), named("u", Media::image(vec![1, 2])));
        check(
            Some(Kind::Video(pb::Video { source, uri: "v".into() })),
            named("v", Media::frames(vec![vec![1, 2]; 2], 2.0)),
        );
        check(Some(Kind::Page(page)), named("", Media::page(vec![3], 1)));
    }

    #[test]
    fn unusable_parts_are_named() {
        check(None, Err("content.parts[0]: is none of text, image, video and page"));
        let empty = pb::Video { source: None, uri: String::new() };
        check(Some(Kind::Video(empty)), Err("content.parts[0].video: has neither frames nor data"));
        let frames = pb::Frames { images: vec![], fps: f32::NAN };
        let source = Some(pb::video::Source::Frames(frames));
        check(
            Some(Kind::Video(pb::Video { source, uri: String::new() })),
            Err("content.parts[0].video.frames.fps: NaN is not a number of frames per second"),
        );
    }
}
