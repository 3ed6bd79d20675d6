package exporttest

import (
	"encoding/hex"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// checkOTLP reads an event with the collector's types, and with those that are
// generated from OTLP's definition, which take no unknown field.
func checkOTLP(t *testing.T, r jobaudit.Record) {
	line := encode(t, export.OTLP, r)
	require.NoError(t, protojson.Unmarshal(line, new(collogs.ExportLogsServiceRequest)), "%s", line)
	request := plogotlp.NewExportRequest()
	if err := request.UnmarshalJSON(line); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	require.Equal(t, 1, request.Logs().LogRecordCount())
	checkLog(t, r, request.Logs().ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0))
}

func checkLog(t *testing.T, r jobaudit.Record, log plog.LogRecord) {
	e := r.Event()
	attribute := func(name string) string {
		v, _ := log.Attributes().Get(name)
		return v.Str()
	}
	require.Equal(t, e.ID.String(), attribute("log.record.uid"))
	require.Equal(t, string(r.Bytes()), attribute("log.record.original"))
	require.Equal(t, e.Why.Reason, attribute("jobaudit.reason"))
	require.Equal(t, e.Who.Principal.ID, attribute("user.id"))
	seq, ok := log.Attributes().Get("jobaudit.stream.seq")
	require.True(t, ok)
	require.EqualValues(t, e.Stream.Seq, seq.Int())
	require.Equal(t, "jobaudit."+string(e.Type), log.EventName())
	require.Equal(t, e.Time.UnixNano(), log.ObservedTimestamp().AsTime().UnixNano())
	if id := log.TraceID(); !id.IsEmpty() {
		require.Contains(t, e.TraceParent, hex.EncodeToString(id[:]))
	}
}

func TestExtraOTLPTypesReadEveryEvent(t *testing.T) {
	size.Extra(t)
	for _, r := range cases(t) {
		checkOTLP(t, r)
	}
}

// The receiver is the one of every distribution of the collector.
func TestExtraTheCollectorsReceiverTakesEveryEvent(t *testing.T) {
	size.Extra(t)
	factory := otlpreceiver.NewFactory()
	config, ok := factory.CreateDefaultConfig().(*otlpreceiver.Config)
	require.True(t, ok)
	address := freeAddress(t)
	config.Protocols.HTTP.GetOrInsertDefault().ServerConfig.NetAddr.Endpoint = address
	sink := new(consumertest.LogsSink)
	receiver, err := factory.CreateLogs(t.Context(), receivertest.NewNopSettings(component.MustNewType("otlp")), config, sink)
	require.NoError(t, err)
	require.NoError(t, receiver.Start(t.Context(), componenttest.NewNopHost()))
	defer func() { require.NoError(t, receiver.Shutdown(t.Context())) }()

	records := cases(t)
	target := export.NewOTLP("http://"+address+"/v1/logs", nil, nil)
	for batch := range slices.Chunk(records, 100) {
		require.NoError(t, target.Send(t.Context(), batch))
	}
	require.Equal(t, len(records), sink.LogRecordCount())
	i := 0
	for _, logs := range sink.AllLogs() {
		for _, resource := range logs.ResourceLogs().All() {
			system, _ := resource.Resource().Attributes().Get("service.name")
			for _, log := range resource.ScopeLogs().At(0).LogRecords().All() {
				checkLog(t, records[i], log)
				require.Equal(t, records[i].Event().Where.System, system.Str())
				i++
			}
		}
	}
}

func FuzzExtraOTLP(f *testing.F) { fuzz(f, checkOTLP) }
