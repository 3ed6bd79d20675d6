package main

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/eventlogger"
	"github.com/hashicorp/eventlogger/sinks/writer"
	mask "github.com/showa-93/go-mask"

	"github.com/jobaudit/jobaudit/bench/corpus"
	"github.com/jobaudit/jobaudit/bench/cost"
)

// loggers are the rows of an event and of redaction.
func loggers(ctx context.Context) (cost.Rows, func(), error) {
	send, err := eventLogger(ctx)
	if err != nil {
		return nil, nil, err
	}
	o := anOrder()
	return cost.Rows{
		"encode": {{Name: "eventlogger, a typed payload, JSON, one writer", Run: cost.In(cost.Each(send))}},
		"redact": {
			{Name: "go-mask by tags, cached, and encoding/json", Run: cost.In(cost.Each(func() error {
				masked, err := mask.Mask(&o)
				if err == nil {
					_, err = json.Marshal(masked)
				}
				return err
			}))},
			{Name: "go-mask alone: a value and no bytes", Run: cost.In(cost.Each(func() error {
				_, err := mask.Mask(&o)
				return err
			}))},
		},
	}, func() {}, nil
}

// event has the members of an event; eventlogger adds a time.
type event struct {
	SchemaVersion, ID, Type, Phase, Stream, Job, State, Root, Correlation string
	Request, Principal, Org, Action, Policy, System, Reason               string
	Inputs                                                                json.RawMessage
}

// eventLogger sends an event through the shortest pipeline that writes it as JSON.
func eventLogger(ctx context.Context) (func() error, error) {
	broker, err := eventlogger.NewBroker()
	if err != nil {
		return nil, err
	}
	if err := broker.RegisterNode("json", &eventlogger.JSONFormatter{}); err != nil {
		return nil, err
	}
	if err := broker.RegisterNode("sink", &writer.Sink{Format: eventlogger.JSONFormat, Writer: io.Discard}); err != nil {
		return nil, err
	}
	err = broker.RegisterPipeline(eventlogger.Pipeline{
		EventType: "audit", PipelineID: "audit", NodeIDs: []eventlogger.NodeID{"json", "sink"},
	})
	if err != nil {
		return nil, err
	}
	m := corpus.Members
	e := event{
		m[0].Value, m[1].Value, m[2].Value, m[3].Value, m[4].Value, m[5].Value, m[6].Value, m[7].Value, m[8].Value,
		m[9].Value, m[10].Value, m[11].Value, m[12].Value, m[13].Value, m[14].Value, m[15].Value, corpus.Inputs,
	}
	return func() error {
		_, err := broker.Send(ctx, "audit", &e)
		return err
	}, nil
}

// order is the record of ten fields of the root's BenchmarkRedactBeside, whose card is
// not kept.
type order struct {
	ID       uuid.UUID      `json:"id"`
	Customer customer       `json:"customer"`
	Items    []item         `json:"items"`
	Total    float64        `json:"total"`
	Currency string         `json:"currency"`
	Paid     bool           `json:"paid"`
	Placed   time.Time      `json:"placed"`
	Labels   map[string]int `json:"labels"`
	Note     string         `json:"note"`
	Card     string         `json:"card,omitempty" mask:"fixed"`
}

type customer struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

type item struct {
	SKU   string  `json:"sku"`
	Count int     `json:"count"`
	Price float64 `json:"price"`
}

func anOrder() order {
	return order{
		ID:       uuid.MustParse("0198f2a4-7c1e-7a6b-9d3e-5f0a1b2c3d4e"),
		Customer: customer{48151623, "Ada Lovelace", "ada@example.org"},
		Items:    []item{{"ABC-1234-XL", 2, 19.99}, {"DEF-5678-S", 1, 249.5}},
		Total:    289.48, Currency: "EUR", Paid: true,
		Placed: time.Date(2026, 11, 21, 20, 45, 33, 123456000, time.UTC),
		Labels: map[string]int{"priority": 3},
		Note:   "Please ring twice, leave the parcel with the neighbour on the second floor if nobody answers, and send a message afterwards. Thank you.",
	}
}
