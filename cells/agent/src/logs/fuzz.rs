//! See [`crate::fuzz`].

use std::fs::File;
use std::io;

use super::record::LogFile;
use crate::fuzz::LogDirection;

pub(crate) fn times(file: File, direction: LogDirection) -> io::Result<Vec<i64>> {
    let log = LogFile::new(file)?;
    let mut times = Vec::new();
    match direction {
        LogDirection::Forward { start_ns } => {
            let mut reader = log.forward(start_ns)?;
            while let Some(record) = reader.next()? {
                times.push(record.time_ns);
            }
        }
        LogDirection::Backward { end_ns } => {
            let mut reader = log.backward(end_ns)?;
            while let Some(record) = reader.next()? {
                times.push(record.time_ns);
            }
        }
    }
    Ok(times)
}
