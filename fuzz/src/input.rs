//! The fuzzer's bytes, as a row of decisions. When they are used up each decision is 0.

pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Up to so many.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Mostly a few, now and then thousands.
    pub fn count(&mut self) -> usize {
        match usize::from(self.byte()) {
            few @ ..224 => few % 16,
            many => (many - 223) * 300,
        }
    }

    /// So many bytes out of few different ones, so that marks are met.
    pub fn letters(&mut self, n: usize) -> Vec<u8> {
        let mut state = u32::from(self.byte());
        let letter = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"aaab\nbaa"[(state >> 29) as usize]
        };
        (0..n).map(letter).collect()
    }

    /// To where the next 0 is.
    pub fn text(&mut self) -> &'a [u8] {
        let len = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = self.take(len);
        self.take(1);
        text
    }
}
