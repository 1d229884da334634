//! Files of packs as the API shows them and actions need them: small texts only.

use crate::store::StoreError;
use crate::store::sql::{self, Connection, query};

/// Writes a file, over an older one.
pub async fn put(
    connection: &mut Connection,
    pack: &str,
    path: &str,
    content: &[u8],
) -> Result<(), StoreError> {
    query(
        "INSERT INTO pack_files (pack, path, content) VALUES ($1, $2, $3) \
         ON CONFLICT (pack, path) DO UPDATE SET content = $3",
    )
    .bind(pack.to_string())
    .bind(path.to_string())
    .bind(content.to_vec())
    .execute(connection)
    .await
    .map_err(StoreError::during("write a file of a pack"))?;
    Ok(())
}

pub async fn get(
    connection: &mut Connection,
    pack: &str,
    path: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    query("SELECT content FROM pack_files WHERE pack = $1 AND path = $2")
        .bind(pack.to_string())
        .bind(path.to_string())
        .fetch_optional(connection)
        .await
        .and_then(|row| row.map(|row| row.try_get(0)).transpose())
        .map_err(StoreError::during("read a file of a pack"))
}

/// All files of a pack, by path.
pub async fn of_pack(
    connection: &mut Connection,
    pack: &str,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let operation = "read the files of a pack";
    query("SELECT path, content FROM pack_files WHERE pack = $1 ORDER BY path")
        .bind(pack.to_string())
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, sql::Error>>()
        .map_err(StoreError::during(operation))
}

pub async fn remove(connection: &mut Connection, pack: &str, path: &str) -> Result<(), StoreError> {
    query("DELETE FROM pack_files WHERE pack = $1 AND path = $2")
        .bind(pack.to_string())
        .bind(path.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("remove a file of a pack"))?;
    Ok(())
}

pub async fn remove_all(connection: &mut Connection, pack: &str) -> Result<(), StoreError> {
    query("DELETE FROM pack_files WHERE pack = $1")
        .bind(pack.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("remove the files of a pack"))?;
    Ok(())
}
