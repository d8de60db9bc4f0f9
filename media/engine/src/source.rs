//! Legs of our own, without a peer: an echo, a tone, silence.

use media_control::Source;

/// What such a leg does.
#[derive(Clone, Debug)]
pub(crate) struct SourceState {
    pub source: Source,
}

impl SourceState {
    pub fn new(source: Source) -> SourceState {
        SourceState { source }
    }

    /// Sends back what the joined leg sends, so that there is a road and no generator.
    pub fn is_echo(&self) -> bool {
        matches!(self.source, Source::Echo)
    }
}
