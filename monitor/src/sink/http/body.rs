//! Events as one JSON array.

use std::sync::Arc;

use crate::{event::Event, render::Style};

/// An array of what a file would get as lines.
pub(super) fn array(events: &[Arc<Event>], style: Style) -> Vec<u8> {
    let mut out = vec![b'['];
    for event in events {
        if out.len() > 1 {
            out.push(b',');
        }
        style.line(event, &mut out);
        out.pop();
    }
    out.push(b']');
    out
}
