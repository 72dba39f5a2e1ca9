import io.delta.kernel.*;
import io.delta.kernel.data.*;
import io.delta.kernel.defaults.engine.DefaultEngine;
import io.delta.kernel.engine.*;
import io.delta.kernel.expressions.Literal;
import io.delta.kernel.internal.InternalScanFileUtils;
import io.delta.kernel.internal.data.ScanStateRow;
import io.delta.kernel.types.StructType;
import io.delta.kernel.unitycatalog.*;
import io.delta.kernel.utils.*;
import io.delta.storage.commit.TableIdentifier;
import io.delta.storage.commit.uccommitcoordinator.*;
import java.util.*;
import org.apache.hadoop.conf.Configuration;

/**
 * An engine that is not ours: reads and writes a managed table with Delta Kernel and its own client of
 * the catalog. `Witness HOST TOKEN CATALOG SCHEMA TABLE COMMAND ...`, where COMMAND is one of
 *   rows APP_ID                    one line a row (tag_webid TAB microseconds), then version and last sequence
 *   tally                          one line a tag: its rows, and the sum of their timestamps
 *   append PATH SIZE DAY APP N     commit a Parquet file that is there already, and publish
 *   append-only PATH SIZE DAY APP N  the same, and leave the publishing to others
 *   checkpoint                     write a checkpoint as this engine does
 */
public class Witness {
  public static void main(String[] args) throws Exception {
    Map<String, String> config = new HashMap<>();
    config.put("uri", args[0]);
    config.put("auth.type", "static");
    config.put("auth.token", args[1]);
    config.put("credentialVending.enabled", "false");
    Engine engine = DefaultEngine.create(new Configuration());
    try (UCDeltaTokenBasedRestClient client = new UCDeltaTokenBasedRestClient(config, Configuration::new)) {
      var table = client.loadTable(new TableIdentifier(new String[] {args[2], args[3]}, args[4]));
      Snapshot snapshot =
          new UCCatalogManagedClient(client)
              .loadSnapshot(
                  engine,
                  table.getTableId().toString(),
                  table.getLocation(),
                  new UCTableIdentifier(args[2], args[3], args[4]),
                  Optional.empty(),
                  Optional.empty());
      switch (args[5]) {
        case "rows" -> rows(engine, snapshot, args[6]);
        case "tally" -> tally(engine, snapshot);
        case "append" -> append(engine, snapshot, args).publish(engine);
        case "append-only" -> append(engine, snapshot, args);
        case "checkpoint" -> snapshot.publish(engine).writeCheckpoint(engine);
        default -> throw new IllegalArgumentException(args[5]);
      }
    }
  }

  private static Snapshot append(Engine engine, Snapshot snapshot, String[] args) throws Exception {
    Transaction transaction =
        snapshot
            .buildUpdateTableTransaction("witness", Operation.WRITE)
            .withTransactionId(args[9], Long.parseLong(args[10]))
            .build(engine);
    Row state = transaction.getTransactionState(engine);
    DataWriteContext context =
        Transaction.getWriteContext(
            engine, state, Map.of("partition_date", Literal.ofDate(Integer.parseInt(args[8]))));
    var file = new DataFileStatus(args[6], Long.parseLong(args[7]), System.currentTimeMillis(), Optional.empty());
    var files = io.delta.kernel.internal.util.Utils.singletonCloseableIterator(file);
    var actions = Transaction.generateAppendActions(engine, state, files, context);
    var result = transaction.commit(engine, CloseableIterable.inMemoryIterable(actions));
    System.out.println("version\t" + result.getVersion());
    return result.getPostCommitSnapshot().orElseThrow();
  }

  private static void rows(Engine engine, Snapshot snapshot, String app) throws Exception {
    each(engine, snapshot, (tag, at, day) -> System.out.println(tag + "\t" + at + "\t" + day));
    System.out.println("version\t" + snapshot.getVersion());
    System.out.println("sequence\t" + snapshot.getLatestTransactionVersion(engine, app).orElse(null));
  }

  private static void tally(Engine engine, Snapshot snapshot) throws Exception {
    Map<String, long[]> found = new TreeMap<>();
    each(
        engine,
        snapshot,
        (tag, at, day) -> {
          long[] of = found.computeIfAbsent(tag, key -> new long[2]);
          of[0] += 1;
          of[1] += at;
        });
    found.forEach((tag, of) -> System.out.println(tag + "\t" + of[0] + "\t" + of[1]));
  }

  private interface Visitor {
    void see(String tag, long at, int day);
  }

  private static void each(Engine engine, Snapshot snapshot, Visitor visitor) throws Exception {
    Scan scan = snapshot.getScanBuilder().build();
    Row state = scan.getScanState(engine);
    StructType physical = ScanStateRow.getPhysicalDataReadSchema(state);
    StructType logical = snapshot.getSchema();
    int tag = logical.indexOf("tag_webid"), at = logical.indexOf("timestamp"), day = logical.indexOf("partition_date");
    try (var batches = scan.getScanFiles(engine)) {
      while (batches.hasNext()) {
        try (var found = batches.next().getRows()) {
          while (found.hasNext()) {
            Row file = found.next();
            var status = InternalScanFileUtils.getAddFileStatus(file);
            var data =
                engine
                    .getParquetHandler()
                    .readParquetFiles(
                        io.delta.kernel.internal.util.Utils.singletonCloseableIterator(status),
                        physical,
                        Optional.empty())
                    .map(FileReadResult::getData);
            try (var whole = Scan.transformPhysicalData(engine, state, file, data)) {
              while (whole.hasNext()) {
                try (var rows = whole.next().getRows()) {
                  while (rows.hasNext()) {
                    Row row = rows.next();
                    visitor.see(row.getString(tag), row.getLong(at), day < 0 ? 0 : row.getInt(day));
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}
