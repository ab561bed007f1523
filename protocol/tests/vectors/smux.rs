//! What a byte stream of mux frames means, cut anywhere.

use bytes::{Buf, Bytes, BytesMut};

/// One thing that happens on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Open(u32),
    Data(u32, Vec<u8>),
    Close(u32),
}

/// Takes the byte stream apart.
#[derive(Default)]
pub(crate) struct Reader {
    header: BytesMut,
    data: Option<(u32, usize)>,
}

impl Reader {
    /// Returns what the next bytes bring; data may come in parts. Keep-alive frames bring nothing.
    pub(crate) fn read(&mut self, payload: &Bytes) -> Vec<Step> {
        let mut payload = payload.clone();
        let mut steps = Vec::new();
        while !payload.is_empty() {
            if let Some((id, remaining)) = self.data.take() {
                let data = payload.split_to(remaining.min(payload.len()));
                if data.len() < remaining {
                    self.data = Some((id, remaining - data.len()));
                }
                steps.push(Step::Data(id, data.to_vec()));
                continue;
            }
            let missing_len = 8 - self.header.len();
            self.header
                .extend_from_slice(&payload.split_to(missing_len.min(payload.len())));
            if self.header.len() == 8 {
                steps.extend(self.header());
            }
        }
        steps
    }

    fn header(&mut self) -> Option<Step> {
        let mut header = self.header.split();
        assert_eq!(header.get_u8(), 1, "version");
        let command = header.get_u8();
        let len = usize::from(header.get_u16_le());
        let id = header.get_u32_le();
        match command {
            0 => Some(Step::Open(id)),
            1 => Some(Step::Close(id)),
            2 => {
                self.data = Some((id, len));
                None
            }
            3 => None,
            unknown => panic!("command {unknown}"),
        }
    }
}

/// Joins data of the same stream that follows on: how it is cut into frames does not matter.
pub(crate) fn joined(steps: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::new();
    for step in steps {
        match (joined.last_mut(), step) {
            (Some(Step::Data(last, data)), Step::Data(id, more)) if *last == id => {
                data.extend_from_slice(&more);
            }
            (_, step) => joined.push(step),
        }
    }
    joined
}
